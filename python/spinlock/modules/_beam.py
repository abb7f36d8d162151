"""Beam search over residual levels: several code sequences are followed, the best one is kept."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spinlock.ops._traced import is_traced

__all__ = ["beam_tokens", "categories_searched"]

# Candidates of one chunk of rows, and rows that chunks are made of: a row's place in a matrix
# product decides its last bits, so that chunks must not hang on how many rows there are.
_CANDIDATES = 1 << 22
_TILE = 64


def beam_tokens(rows: Tensor, codebooks: Sequence[Tensor], beam: int, plain: Tensor) -> Tensor:
    """Codes of one category whose sum is near each row: never farther than the plain ones.

    Level by level every followed sequence is continued by every code, and the ``beam`` sequences
    that leave the least squared error over all coordinates are followed on (Liu et al. 2015,
    "Improved residual vector quantization").

    Args:
        rows: float32 or float64 [B, W].
        codebooks: per level [K_l, D_l], D_l <= W: codes of the first D_l coordinates.
        beam: sequences to follow, at least 1.
        plain: int64 [B, L], the codes that the nearest code of each level gives.

    Returns:
        int64 [B, L]: ``plain`` where nothing smaller was found, as for rows that are not finite.

    >>> rows = torch.tensor([[1.0]])
    >>> levels = [torch.tensor([[1.3], [0.0]]), torch.tensor([[1.0], [0.5]])]
    >>> beam_tokens(rows, levels, 2, torch.tensor([[0, 1]]))  # 0 + 1.0, not 1.3 + 0.5
    tensor([[1, 0]])
    """
    if is_traced(rows):
        return _searched(rows, codebooks, beam, plain)  # a program of any number of rows
    if not len(rows):
        return plain
    largest = max(len(codes) for codes in codebooks)
    step = max(_TILE, _CANDIDATES // (beam * largest) // _TILE * _TILE)
    chunks = [
        _searched(part, codebooks, beam, kept)
        for part, kept in zip(torch.split(rows, step), torch.split(plain, step), strict=True)
    ]
    return torch.cat(chunks) if chunks else plain


def categories_searched(
    rows: Tensor,
    widths: Sequence[int],
    codebooks: Sequence[Sequence[Tensor]],
    beam: int,
    plain: Tensor,
) -> Tensor:
    """:func:`beam_tokens` for each category, int64 [B, C * L] category-major.

    Args:
        rows: float32 or float64 [B, sum of widths].
        widths: columns of each category.
        codebooks: per category per level [K, D].
        beam: as there.
        plain: int64 [B, C * L].
    """
    parts = zip(
        torch.split(rows, list(widths), dim=1),
        codebooks,
        torch.split(plain, len(codebooks[0]), dim=1),
        strict=True,
    )
    found = [
        beam_tokens(part, [codes.to(part.dtype) for codes in levels], beam, kept)
        for part, levels, kept in parts
    ]
    return torch.cat(found, dim=1)


def _searched(rows: Tensor, codebooks: Sequence[Tensor], beam: int, plain: Tensor) -> Tensor:
    residual = rows.unsqueeze(1)
    cost = residual.square().sum(dim=2)
    tokens = plain.new_empty(rows.shape[0], 1, 0)
    for codes in codebooks:
        dim = codes.shape[1]
        # Centred on the codebook, so that the expanded square keeps its digits.
        centre = codes.mean(dim=0)
        seen, away = residual.narrow(2, 0, dim), codes - centre
        moved = seen - centre
        gain = away.square().sum(dim=1) - 2.0 * (moved @ away.T)
        base = cost - seen.square().sum(dim=2) + moved.square().sum(dim=2)
        following = (base.unsqueeze(2) + gain).flatten(1)
        kept = min(beam, following.shape[1])
        cost, chosen = following.topk(kept, dim=1, largest=False)
        parent, code = chosen // len(codes), chosen % len(codes)
        residual = _paths(residual, parent)
        residual.narrow(2, 0, dim).sub_(codes[code])
        tokens = _paths(tokens, parent)
        tokens = torch.cat([tokens, code.unsqueeze(2)], dim=2)
    best = residual.double().square().sum(dim=2).argmin(dim=1)
    found = tokens[torch.arange(rows.shape[0], device=rows.device), best]
    better = _error(rows, codebooks, found) < _error(rows, codebooks, plain)
    return torch.where(better.unsqueeze(1), found, plain)


def _paths(values: Tensor, parent: Tensor) -> Tensor:
    """Values [B, P, W] of the paths int64 [B, M], anew: [B, M, W]."""
    # Not take_along_dim: exporters would fix the number of rows.
    return values.gather(1, parent.unsqueeze(2).expand(-1, -1, values.shape[2]))


def _error(rows: Tensor, codebooks: Sequence[Tensor], tokens: Tensor) -> Tensor:
    """float64 [B]: what the codes of ``tokens [B, L]`` leave of each row, squared."""
    left = rows.double()
    for level, codes in enumerate(codebooks):
        chosen = codes[tokens.select(1, level)].double()
        left = left - torch.nn.functional.pad(chosen, (0, left.shape[1] - codes.shape[1]))
    return left.square().sum(dim=1)
