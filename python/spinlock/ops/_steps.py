"""Lookups, statistics and whole steps on the backend that the table chooses.

Arguments are checked, and nothing here is differentiated or traced: ``_autograd`` attaches
gradients, and ``_library`` registers these functions as operators.
"""

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.ops import _torch
from spinlock.ops._averages import count_rows, move_averages, normalize_codes
from spinlock.ops._backend import AverageState, Step, resolve_backend, resolve_fused
from spinlock.ops.padding import padding_plan
from spinlock.ops.usable import usable_rows

__all__ = [
    "accumulate",
    "lookup",
    "quantize_step",
    "train_step",
    "update_counts",
    "working_dtype",
]


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """What losses and codes are computed in: float32, or float64 where a tensor is."""
    wide = any(tensor.dtype is torch.float64 for tensor in tensors)
    return torch.float64 if wide else torch.float32


def _plain(tensor: Tensor) -> Tensor:
    """Without gradient; detaching what has none would cost a small lookup a tenth of its time."""
    return tensor.detach() if tensor.requires_grad else tensor


def lookup(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    backend: str | None,
    out: Tensor | None = None,
) -> Tensor:
    """int64 [B, Q], the nearest codes; written to ``out`` if given."""
    latents, weight = _plain(latents), _plain(weight)
    fused = resolve_fused(backend, latents, weight)
    if fused is not None:
        return fused.nearest_codes(latents, weight, layout, out=out)
    usable = usable_rows(latents, layout)
    found = resolve_backend(backend).nearest_codes(latents, weight, layout, usable)
    return found if out is None else out.copy_(found)


def accumulate(
    latents: Tensor, indices: Tensor, layout: CodebookLayout, backend: str | None
) -> tuple[Tensor, Tensor]:
    """(counts float32 [total_codes], sums float32 [weight_size]) of the usable rows."""
    latents = _plain(latents)
    fused = resolve_fused(backend, latents)
    if fused is not None:
        return fused.accumulate_codes(latents, indices, layout)
    usable = usable_rows(latents, layout)
    return resolve_backend(backend).accumulate_codes(latents, indices, layout, usable)


def quantize_step(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    indices: Tensor | None,
    backend: str | None,
    out: tuple[Tensor, Tensor] | None = None,
) -> Step:
    """Codes, indices, losses and counts of one batch.

    Args:
        latents: [B, input_width].
        weight: [weight_size].
        layout: where codebooks and columns lie.
        indices: int64 [B, Q], codes already chosen; None looks the nearest ones up.
        backend: its name, or None.
        out: buffers for codes and indices.
    """
    latents, weight = _plain(latents), _plain(weight)
    fused = resolve_fused(backend, latents, weight) if indices is None else None
    if fused is not None:
        return fused.quantize(latents, weight, layout, out=out)
    usable = usable_rows(latents, layout)
    if indices is None:
        indices = resolve_backend(backend).nearest_codes(latents, weight, layout, usable)
    working = working_dtype(latents, weight)
    codes = _torch.gather_codes(indices, weight, layout).to(working)
    losses = _losses(latents.to(working) - codes, layout, usable)
    if out is not None:
        codes, indices = out[0].copy_(codes), out[1].copy_(indices)
    return Step(codes, indices, losses, _torch.count_codes(indices, layout, usable))


def train_step(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    state: AverageState,
    backend: str | None,
) -> Step:
    """As :func:`quantize_step`, and then the update of the state and the weight, in place."""
    if state.ema_sums is None:
        step = quantize_step(latents, weight, layout, None, backend)
        update_counts(step.counts, len(latents), layout, state)
        return step
    fused = resolve_fused(backend, latents, weight)
    if fused is not None:
        step = fused.train_step(
            _plain(latents),
            weight,
            layout,
            state.ema_counts,
            state.ema_sums,
            state.epoch_counts,
            state.epoch_skipped,
            state.decay,
            state.epsilon,
        )
    else:
        step = quantize_step(latents, weight, layout, None, backend)
        _, sums = accumulate(latents, step.indices, layout, backend)
        move_averages(
            weight,
            layout,
            state.ema_counts,
            state.ema_sums,
            step.counts,
            sums,
            decay=state.decay,
            epsilon=state.epsilon,
        )
        _count(step.counts, len(latents), layout, state)
    if state.unit_codes:
        normalize_codes(weight, layout, step.counts)
    return step


def update_counts(
    counts: Tensor, num_rows: int, layout: CodebookLayout, state: AverageState
) -> None:
    """The part of a train step that needs no sums, in place, on a state that has none.

    Args:
        counts: int64 [total_codes] of the batch.
        num_rows: of the batch, those that were skipped included.
        layout: where codebooks lie.
        state: whose counts and counters move.
    """
    move_averages(
        None,
        layout,
        state.ema_counts,
        None,
        counts,
        None,
        decay=state.decay,
        epsilon=state.epsilon,
    )
    _count(counts, num_rows, layout, state)


def _count(counts: Tensor, num_rows: int, layout: CodebookLayout, state: AverageState) -> None:
    count_rows(state.epoch_counts, state.epoch_skipped, counts, num_rows, layout)


def _losses(error: Tensor, layout: CodebookLayout, usable: Tensor | None) -> Tensor:
    """[Q], mean over usable rows and D_q dims of the squared error, 0 without such rows."""
    plan = padding_plan(layout, error.device)
    rows = torch.full_like(plan.dims, len(error))
    if usable is not None:
        error = error.where(usable.index_select(1, plan.column_quantizer), 0.0)
        rows = usable.sum(dim=0)
    sums = error.new_zeros(layout.num_quantizers)
    sums.index_add_(0, plan.column_quantizer, error.square().sum(dim=0))
    return sums / (rows * plan.dims).clamp_(min=1)
