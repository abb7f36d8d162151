"""The way down the levels of ResidualVQ, and one gradient for their sum."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.modules._beam import beam_tokens
from spinlock.modules.code_learning import LearningStep
from spinlock.modules.code_synchronization import is_synchronized, same_everywhere
from spinlock.modules.messages import afterwards
from spinlock.modules.row_quantizer import RowQuantizer, RowResult
from spinlock.modules.vq_options import Estimator, LevelDropout
from spinlock.ops._backend import Step
from spinlock.ops._fused import with_gradients
from spinlock.ops._steps import working_dtype

__all__ = ["LevelResults", "attach_sum", "beam_indices", "draw_num_levels", "quantize_levels"]


class LevelResults(NamedTuple):
    """What :func:`quantize_levels` returns.

    Attributes:
        total: [N, D], the sum of the levels' codes, float32 or wider.
        indices: int64 [N, L], -1 where a level or a row was left out.
        levels: the result of each.
    """

    total: Tensor
    indices: Tensor
    levels: list[RowResult]


def draw_num_levels(dropout: LevelDropout, levels: int, device: torch.device) -> int | Tensor:
    """How many levels a step uses: an int, or in a traced call a scalar int64 tensor.

    >>> draw_num_levels(LevelDropout(at_least=3), 3, torch.device("cpu"))
    3
    """
    drawn = torch.randint(dropout.at_least, levels + 1, (), device=device)
    multiple = dropout.multiple_of
    used = ((drawn + multiple - 1) // multiple * multiple).clamp(max=levels)
    if is_synchronized(None):
        used = same_everywhere(used)
    return used if torch.compiler.is_compiling() else int(used)


def quantize_levels(
    levels: Sequence[RowQuantizer],
    rows: Tensor,
    mask: Tensor | None,
    chosen: Tensor | None,
    used: int | Tensor,
    *,
    shared: bool,
) -> LevelResults:
    """Quantizes rows [N, D] level by level, and learns from them in training mode.

    Args:
        levels: without estimators of their own.
        rows: the residual of the first level.
        mask: bool [N], False for padding.
        chosen: int64 [N, L], codes already chosen; None takes the nearest.
        used: levels that are used; the others see no row.
        shared: all levels have one codebook, which learns once, from all of them.
    """
    wide = working_dtype(rows, levels[0].bank.weight)
    residual = rows.detach().to(wide)
    anchored = rows.to(wide) - residual  # zeros with the gradient of the rows
    total = torch.zeros_like(residual)
    seen: list[Tensor] = []
    results: list[RowResult] = []
    indices: list[Tensor] = []
    last = (used if isinstance(used, int) else len(levels)) - 1
    for level, layer in enumerate(levels):
        if level > last:
            results.append(_left_out(layer, results[0]))
            indices.append(torch.full_like(indices[0], -1))
            continue
        keep = mask
        if isinstance(used, Tensor):
            keep = (level < used).expand(rows.shape[0])
            keep = keep if mask is None else keep & mask
        seen.append(residual)
        result = layer.quantize_rows(
            residual + anchored,
            keep,
            indices=None if chosen is None else chosen.narrow(1, level, 1),
            learning=LearningStep(gather_only=shared and level < last, expire=not shared),
        )
        codes, index = result.quantized, result.indices.select(1, 0)
        if keep is not None:
            codes = torch.where(keep.unsqueeze(1), codes, 0.0)
            index = index.where(keep, -1)
        residual = residual - codes.detach()
        total = total + codes
        results.append(result)
        indices.append(index)
    if shared and levels[0].training:
        pooled = torch.stack(seen, dim=1).flatten(0, 1)
        kept = None if mask is None else mask.repeat_interleave(len(seen))
        if not levels[0].bank.frozen:
            compared = levels[0].compared_rows(pooled, kept)
            afterwards(partial(levels[0].expire_rows, compared))
    return LevelResults(total, torch.stack(indices, dim=1), results)


def _left_out(layer: RowQuantizer, like: RowResult) -> RowResult:
    """The result of a level that sees no row."""
    zero = torch.zeros_like(like.commitment)
    counts = like.counts.new_zeros(layer.bank.layout.total_codes)
    nothing = torch.zeros_like(like.quantized), torch.full_like(like.indices, -1)
    return RowResult(*nothing, zero, zero, zero, zero, counts, None)


def attach_sum(
    rows: Tensor, results: LevelResults, estimator: Estimator, layout: CodebookLayout
) -> Tensor:
    """The sum of the levels [N, D] with the estimator's gradient to rows [N, D].

    Args:
        rows: what the sum stands for.
        results: the levels.
        estimator: which one.
        layout: of one code of D dimensions.
    """
    if estimator == "none" or not (rows.requires_grad and torch.is_grad_enabled()):
        return results.total
    first = results.levels[0]
    nothing = results.total.new_zeros(1)
    step = Step(
        results.total.detach(),
        torch.zeros_like(first.indices),
        nothing,
        first.counts.sum(dim=0, keepdim=True),
        nothing[0],
    )
    found = with_gradients(
        rows,
        results.total.new_zeros(layout.weight_size),
        layout,
        step,
        rotation=estimator == "rotation",
    )
    return found.quantized


@torch.no_grad()
def beam_indices(
    levels: Sequence[RowQuantizer], rows: Tensor, mask: Tensor | None, beam: int
) -> Tensor:
    """int64 [N, L]: codes whose sum is near each row; never farther than the nearest ones.

    Args:
        levels: in eval mode.
        rows: [N, D].
        mask: bool [N].
        beam: sequences that are followed.
    """
    nearest = quantize_levels(levels, rows, mask, None, len(levels), shared=False)
    codebooks = [layer.codes[0] for layer in levels]
    wide = rows.detach().to(nearest.total.dtype)
    plain = nearest.indices.clamp(min=0)
    return beam_tokens(wide, [codes.to(wide.dtype) for codes in codebooks], beam, plain)
