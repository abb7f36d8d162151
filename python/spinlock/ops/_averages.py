"""Exponential moving averages of code statistics (van den Oord et al. 2017, appendix A.1)."""

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from spinlock.layout import CodebookLayout
from spinlock.ops._backend import AverageState
from spinlock.ops.padding import padding_plan

__all__ = ["count_rows", "mark_changed", "move_averages", "normalize_codes"]

try:
    increment_version(())
    _SEVERAL_AT_ONCE = True
except TypeError:  # torch before 2.7
    _SEVERAL_AT_ONCE = False


def move_averages(
    weight: Tensor | None,
    layout: CodebookLayout,
    ema_counts: Tensor,
    ema_sums: Tensor | None,
    batch_counts: Tensor,
    batch_sums: Tensor | None,
    *,
    decay: float,
    epsilon: float,
) -> None:
    """One step in place: N <- decay N + (1 - decay) n, m <- decay m + (1 - decay) s, c = m / N'.

    N' = (N + epsilon) / (sum N + K epsilon) * sum N, per codebook, smooths the counts for the
    division only and is not written back.  A quantizer with no row in the batch keeps its state.

    Args:
        weight: c, [weight_size]; None without sums.
        layout: where codebooks lie.
        ema_counts: N, float32 [total_codes].
        ema_sums: m, float32 [weight_size]; None moves counts only.
        batch_counts: n, float32 or int64 [total_codes], rows of the batch per code.
        batch_sums: s, float32 [weight_size], the sums of those rows; None without ``ema_sums``.
        decay: 0 <= decay <= 1; 1 moves nothing.
        epsilon: > 0, pseudo-rows per code.
    """
    plan = padding_plan(layout, ema_counts.device)
    batch_counts = batch_counts.to(ema_counts.dtype)
    active = plan.sum_by_quantizer(batch_counts) > 0
    rate = ((1.0 - decay) * active.to(batch_counts.dtype))[plan.code_quantizer]
    ema_counts.lerp_(batch_counts, rate)
    if weight is None or ema_sums is None or batch_sums is None:
        return
    element_rate = rate[plan.element_code]
    ema_sums.lerp_(batch_sums, element_rate)
    total = plan.sum_by_quantizer(ema_counts)
    share = total / (total + plan.sizes * epsilon)
    smoothed = (ema_counts + epsilon) * share[plan.code_quantizer]
    updated = ema_sums / smoothed[plan.element_code]
    weight.copy_(torch.where(element_rate > 0, updated, weight))


def count_rows(
    epoch_counts: Tensor, epoch_skipped: Tensor, rows: Tensor, num_rows: int, layout: CodebookLayout
) -> None:
    """Adds int64 [total_codes], the rows of a batch of ``num_rows``, to the epoch's, in place."""
    plan = padding_plan(layout, rows.device)
    epoch_counts.add_(rows)
    epoch_skipped.add_(num_rows - plan.sum_by_quantizer(rows))


def normalize_codes(
    weight: Tensor, layout: CodebookLayout, batch_counts: Tensor | None = None
) -> None:
    """Scales codes to length 1 in place; codes of zeros stay.

    Args:
        weight: [weight_size].
        layout: where codebooks lie.
        batch_counts: [total_codes]; codebooks without a row here keep their bits.  None: all move.
    """
    plan = padding_plan(layout, weight.device)
    values = weight.to(torch.float64)
    squares = values.new_zeros(layout.total_codes).index_add_(0, plan.element_code, values.square())
    length = squares.masked_fill_(squares == 0, 1.0).sqrt_()
    if batch_counts is not None:
        active = plan.sum_by_quantizer(batch_counts) > 0
        length = length.where(active[plan.code_quantizer], 1.0)
    weight.copy_(values / length[plan.element_code])


def mark_changed(weight: Tensor, state: AverageState) -> None:
    """Tells autograd, which would otherwise use changed values that it kept."""
    if state.ema_sums is not None:
        changed = weight, state.ema_counts, state.ema_sums
        for tensor in (changed,) if _SEVERAL_AT_ONCE else changed:
            increment_version(tensor)
