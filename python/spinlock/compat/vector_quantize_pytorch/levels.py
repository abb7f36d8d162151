"""Which residual levels a training step uses, and the paths that a beam search finds."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from spinlock.compat.vector_quantize_pytorch.layer import Layer
from spinlock.modules.code_synchronization import is_synchronized, same_everywhere

__all__ = ["beam_paths", "draw_last_level", "draw_seed"]


def draw_seed(device: torch.device) -> int:
    """A seed for :func:`draw_last_level` from torch's global generator."""
    drawn = torch.randint(0, 10_000, (), device=device)
    return int(same_everywhere(drawn) if is_synchronized(None) else drawn)


def draw_last_level(
    seed: int | None, device: torch.device, cutoff: int, levels: int, multiple_of: int
) -> int | Tensor:
    """The last level that is used, evenly from cutoff..levels - 1, rounded up to multiples.

    Args:
        seed: of the draw; None takes one from torch's global generator.
        device: of that draw.
        cutoff: levels up to this one are always used.
        levels: how many there are.
        multiple_of: the number of levels used is a multiple of this, or all of them.

    Returns:
        an int, or, in a traced call without a seed, a scalar int64 tensor.

    >>> draw_last_level(3, torch.device("cpu"), 1, 8, 4) in (3, 7)
    True
    """
    if seed is None and torch.compiler.is_compiling():
        drawn = torch.randint(cutoff, levels, (), device=device)
        return ((drawn + multiple_of) // multiple_of * multiple_of - 1).clamp(max=levels - 1)
    seed = draw_seed(device) if seed is None else seed
    last = random.Random(seed).randrange(cutoff, levels)
    return min(-(-(last + 1) // multiple_of) * multiple_of, levels) - 1


@torch.no_grad()
def beam_paths(
    rows: Tensor, layers: Sequence[Layer], beam: int, weights: Sequence[float]
) -> list[Tensor]:
    """int64 [N] per level: the codes of the path with the least weighted sum of errors.

    Every path is continued by its ``beam`` nearest codes, and as many paths are kept as cost least,
    where a level costs its weight times the mean squared error it leaves.

    Args:
        rows: [N, D].
        layers: one per level.
        beam: paths that are followed, >= 1.
        weights: of the levels' errors.
    """
    residual, cost = rows.detach().float().unsqueeze(1), rows.new_zeros(rows.shape[0], 1).float()
    residual = residual.where(residual.isfinite().all(dim=2, keepdim=True), 0.0)
    tokens = rows.new_empty(0, dtype=torch.int64)
    for level, (layer, weight) in enumerate(zip(layers, weights, strict=True)):
        paths = residual.shape[1]
        flat = residual.flatten(0, 1)
        found = layer.candidates(flat, beam)
        width = found.shape[1]
        codes = layer.decode_rows(found.reshape(-1, 1)).view(flat.shape[0], width, -1).float()
        error = (codes - layer.compared_rows(flat).unsqueeze(1)).square().mean(dim=2)
        share = layer.regularizers.commitment or 1.0
        total = cost.unsqueeze(2) + (error * share * weight).view(rows.shape[0], paths, width)
        kept = 1 if level == len(layers) - 1 else min(beam, paths * width)
        cost, chosen = total.flatten(1).topk(kept, dim=1, largest=False)
        parent = chosen // width
        code = found.view(rows.shape[0], -1).gather(1, chosen).unsqueeze(2)
        tokens = torch.cat([_paths(tokens, parent), code], dim=2) if level > 0 else code
        picked = _paths(codes.view(rows.shape[0], -1, codes.shape[2]), chosen)
        residual = _paths(residual, parent) - picked
    return list(tokens.select(1, 0).unbind(dim=1))


def _paths(values: Tensor, kept: Tensor) -> Tensor:
    """Values [N, P, W] of the paths int64 [N, M]: [N, M, W]."""
    return values.gather(1, kept.unsqueeze(2).expand(-1, -1, values.shape[2]))
