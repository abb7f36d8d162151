"""The several nearest codes of each row, each with its loss."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spinlock.compat.vector_quantize_pytorch.losses import LossBreakdown
from spinlock.compat.vector_quantize_pytorch.places import Places
from spinlock.errors import InputError
from spinlock.modules.code_distances import code_scores

if TYPE_CHECKING:
    from spinlock.compat.vector_quantize_pytorch.vector_quantize import VectorQuantize

__all__ = ["several_codes"]


def several_codes(
    layer: "VectorQuantize",
    sequences: Tensor,
    mask: Tensor | None,
    places: Places,
    count: int,
    *,
    frozen: bool,
    breakdown: bool,
) -> tuple[Any, ...]:
    """(quantized [.., k, dim], indices [.., k], loss [.., k]); nothing is learned from it.

    Args:
        layer: of one head.
        sequences: [batch, n, dim].
        mask: bool [batch * n].
        places: where the sequences came from.
        count: k, at most K are returned.
        frozen: learnable codes get no gradient from the loss.
        breakdown: return the terms of the loss as well.

    Raises:
        InputError: several heads, a cross entropy loss in training mode, or no code asked.
    """
    cross_entropy = layer.training and layer.regularizers.cross_entropy
    if layer.heads != 1 or cross_entropy or count < 1:
        raise InputError(
            f"topk: expected at least 1 code of one head without cross entropy, got topk={count} "
            f"with heads={layer.heads}; leave topk away"
        )
    batch, positions = sequences.shape[:2]
    rows = layer.project_in(sequences).flatten(0, 1)
    if layer.training and layer.bank.may_wait:
        layer.initialize(layer.compared_rows(rows, mask))
    indices = layer.candidates(rows, count)
    count = indices.shape[1]
    compared = layer.compared_rows(rows.repeat_interleave(count, dim=0))
    found = layer.assign(compared, indices.reshape(-1, 1))
    spread = layer.attach(found, rows=compared, scores=None, at=0.0)
    codes = layer.decode_rows(found.indices)
    if layer.training and (frozen or not layer.learnable_codebook):
        codes = codes.detach()
    squares = (codes.to(compared.dtype) - compared).square().mean(dim=1)
    usable = compared.detach().isfinite().all(dim=1)
    squares = squares.where(usable, 0.0).view(-1, count)
    if mask is not None:
        squares = squares.where(mask.unsqueeze(1), 0.0)
    weight = layer.commitment_weight if layer.has_commitment_loss else float(not layer.training)
    loss = squares * weight
    scores = None
    if layer.training and layer.regularizers.diversity > 0:
        nearest = layer.compared_rows(rows)
        scores = code_scores(nearest, layer.bank.weight, layer.bank.layout, layer.cosine)
    seen = layer.compared_rows(rows.detach(), mask)
    diversity, orthogonal = layer.terms(scores, indices, seen, positions)
    if layer.training:
        loss = loss + diversity * layer.regularizers.diversity
        loss = loss + orthogonal * layer.regularizers.orthogonal
    quantized = layer.project_out(spread.to(sequences.dtype)).view(rows.shape[0], count, -1)
    if mask is not None:
        padding = layer.padding(sequences.flatten(0, 1)).unsqueeze(1).expand_as(quantized)
        quantized = torch.where(mask.view(-1, 1, 1), quantized, padding)
        indices = indices.where(mask.unsqueeze(1), -1)
    shaped = [each.view(batch, positions, count) for each in (indices, loss, squares)]
    restored = places.restore(quantized.view(batch, positions, count, -1))
    tokens, losses, parts = (places.restore_indices(each) for each in shaped)
    if not breakdown:
        return restored, tokens, losses
    split = LossBreakdown(parts, diversity, orthogonal, torch.zeros_like(diversity))
    return restored, tokens, losses, split
