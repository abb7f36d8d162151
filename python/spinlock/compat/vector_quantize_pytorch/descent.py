"""The way down the residual levels."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from spinlock.compat.vector_quantize_pytorch.layer import LayerResult
from spinlock.compat.vector_quantize_pytorch.levels import beam_paths
from spinlock.compat.vector_quantize_pytorch.vector_quantize import VectorQuantize
from spinlock.modules.code_learning import LearningStep
from spinlock.modules.messages import afterwards

__all__ = ["Descent", "descend"]


class Descent(NamedTuple):
    """What :func:`descend` returns.

    Attributes:
        quantized: [N, D], the sum over levels, with its gradients.
        indices: int64 [N, L]; -1 for levels that were not used and for padding.
        losses: [L]; cross entropies where targets were given.
        codes: [L, N, D] before any update, zeros likewise.
    """

    quantized: Tensor
    indices: Tensor
    losses: Tensor
    codes: Tensor


def descend(
    levels: Sequence[VectorQuantize],
    rows: Tensor,
    mask: Tensor | None,
    *,
    positions: int,
    last_level: int | Tensor | None,
    gradient_share: float,
    beam: int,
    beam_weights: Sequence[float],
    temperature: float | None,
    frozen: bool,
    shared: bool,
    targets: Tensor | None,
) -> Descent:
    """Quantizes rows [N, D] level by level.

    Args:
        levels: one layer each.
        rows: the residual of the first level.
        mask: bool [N], False for padding.
        positions: of :meth:`Layer.quantize`.
        last_level: the last one that is used; None: all.
        gradient_share: of a level's gradient that reaches the levels before it.
        beam: paths that are followed before codes are taken.
        beam_weights: per level.
        temperature: of drawn codes; None: the layers'.
        frozen: learn nothing.
        shared: all levels have one codebook: it is refreshed after the last of them.
        targets: int64 [N, L], codes whose cross entropy is asked.
    """
    used = last_level + 1 if isinstance(last_level, int) else len(levels)
    paths: list[Tensor | None] = [None] * used
    if beam > 1:
        if levels[0].training:
            _initialize(levels[:used], rows, mask)
        paths = list(beam_paths(rows, levels[:used], beam, beam_weights[:used]))
    learning = LearningStep(refresh=not shared, expire=not shared)
    residual, total = rows, torch.zeros_like(rows)
    seen: list[Tensor] = []
    tokens, losses, codes = [], [], []
    for level, (layer, path) in enumerate(zip(levels[:used], paths, strict=True)):
        keep = mask
        if isinstance(last_level, Tensor):
            on = level <= last_level
            keep = on.expand(rows.shape[0]) if mask is None else mask & on
        seen.append(residual.detach())
        result = layer.quantize(
            residual,
            keep,
            indices=None if path is None else path.unsqueeze(1),
            positions=positions,
            temperature=temperature,
            frozen=frozen,
            score=targets is not None,
            learning=learning,
        )
        quantized, index, loss = result.quantized, result.indices.select(1, 0), result.loss
        if beam > 1 and not layer.training:
            # As in the original: paths are compared by their loss, and eval mode returns it.
            loss = result.rows.commitment * (layer.regularizers.commitment or 1.0)
        if targets is not None:
            loss = layer.cross_entropy(result, targets.narrow(1, level, 1))
        found = _codes(result)
        if keep is not None:
            quantized = torch.where(keep.unsqueeze(1), quantized, 0.0)
            found = torch.where(keep.unsqueeze(1), found, 0.0)
            index = index.where(keep, -1)
        if isinstance(last_level, Tensor):
            loss = torch.where(level <= last_level, loss, 0.0)
        residual = residual - _share(quantized, gradient_share)
        total = total + quantized
        tokens.append(index)
        losses.append(loss)
        codes.append(found)
    for _ in levels[used:]:
        tokens.append(torch.full_like(tokens[0], -1))
        losses.append(torch.zeros_like(losses[0]))
        codes.append(torch.zeros_like(codes[0]))
    if shared and levels[0].training and not frozen:
        if levels[0].ema_update:
            afterwards(levels[0]._codebook.update_ema)
        # Rows by rows, the levels of one row together.
        pooled = torch.stack(seen, dim=1).flatten(0, 1)
        kept = None if mask is None else mask.repeat_interleave(len(seen))
        afterwards(partial(levels[0].expire_rows, levels[0].compared_rows(pooled, kept)))
    return Descent(total, torch.stack(tokens, dim=1), torch.stack(losses), torch.stack(codes))


def _codes(result: LayerResult) -> Tensor:
    """The level's codes as they were looked up; values only, for the codes may have moved."""
    return result.quantized.detach()


def _share(quantized: Tensor, share: float) -> Tensor:
    detached = quantized.detach()
    return detached if share <= 0 else share * quantized + (1.0 - share) * detached


def _initialize(levels: Sequence[VectorQuantize], rows: Tensor, mask: Tensor | None) -> None:
    """The k-means of codebooks that wait, each on what the nearest codes before it leave."""
    if not any(layer.bank.may_wait for layer in levels):
        return
    with torch.no_grad():
        residual = rows.detach()
        for layer in levels:
            compared = layer.compared_rows(residual, mask)
            layer.initialize(compared)
            residual = residual - layer.assign(compared, None).quantized.to(residual.dtype)
