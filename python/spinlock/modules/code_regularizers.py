"""Terms of the loss that look at a whole codebook, or at all distances."""

import torch
from torch import Tensor

from spinlock.modules.vq_options import Regularizers
from spinlock.ops._precision import full_precision

__all__ = ["code_cross_entropy", "diversity_loss", "orthogonal_loss"]

_SMALLEST_NORM = 1e-6
_SMALLEST_SHARE = 1e-5


def orthogonal_loss(
    codebooks: Tensor, options: Regularizers, indices: Tensor | None = None
) -> Tensor:
    """Mean squared cosine between codes, minus that of a code with itself: scalar, 0 if apart.

    Args:
        codebooks: [Q, K, D].
        options: which codes take part.
        indices: int64, the codes of this batch, for ``orthogonal_used_only``; -1 is none.
    """
    quantizers, size, _ = codebooks.shape
    # A copy: codes may change in place before the backward pass.
    unit = torch.nn.functional.normalize(codebooks.clone(), dim=-1, eps=_SMALLEST_NORM)
    limit = options.orthogonal_max_codes
    if not options.orthogonal_used_only:
        if limit is not None and size > limit:
            unit = unit[:, torch.randperm(size, device=unit.device)[:limit]]
        count = unit.shape[1]
        squares = _cosines(unit).square().sum()
        return squares / (quantizers * count**2) - 1.0 / count
    assert indices is not None
    # A mask of fixed shape instead of the list of codes: compilers see no sizes that hang on data.
    flat = indices.reshape(-1)
    used = torch.zeros(size + 1, dtype=torch.bool, device=unit.device)
    used = used.index_fill(0, flat.where(flat >= 0, size), True)[:size]
    if limit is not None:
        keys = torch.rand(size, device=unit.device).masked_fill(~used, 2.0)
        used = used & (keys.argsort().argsort() < limit)
    number = used.sum()
    unit = unit * used[:, None]
    apart = number > 0  # without a code there is nothing to push apart
    number = number.clamp(min=1)
    return (_cosines(unit).square().sum() / number**2 - 1.0 / number) * apart


def _cosines(unit: Tensor) -> Tensor:
    with full_precision(unit):
        return unit @ unit.transpose(1, 2)


def diversity_loss(scores: Tensor, temperature: float, positions: int, usable: Tensor) -> Tensor:
    """Minus the entropy of the mean softmax of scores, averaged over positions: scalar.

    Args:
        scores: [B, Q, K].
        temperature: what scores are multiplied by.
        positions: B is a multiple of it; rows of one position are averaged together.
        usable: bool [B, Q], what counts.
    """
    quantizers, size = scores.shape[1:]
    batches = scores.shape[0] // max(positions, 1)
    shares = (scores * temperature).softmax(dim=-1).view(batches, positions, quantizers, size)
    kept = usable.view(batches, positions, quantizers, 1).to(shares.dtype)
    mean = (shares * kept).sum(dim=(0, 2)) / kept.sum(dim=(0, 2)).clamp(min=1)
    entropy = -(mean * mean.clamp(min=_SMALLEST_SHARE).log()).sum(dim=-1)
    return -entropy.sum() / max(positions, 1)


def code_cross_entropy(scores: Tensor, indices: Tensor) -> Tensor:
    """Mean cross entropy of the codes given, by scores; -1 is left out; 0 if nothing is left.

    Args:
        scores: [B, Q, K].
        indices: int64 [B, Q].
    """
    flat = indices.reshape(-1)
    summed = torch.nn.functional.cross_entropy(
        scores.reshape(flat.shape[0], scores.shape[-1]), flat, ignore_index=-1, reduction="sum"
    )
    return summed / (flat >= 0).sum().clamp(min=1)
