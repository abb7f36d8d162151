"""Seeded choices of rows; drawn on the CPU, so that every device sees the same ones."""

import torch
from torch import Tensor

__all__ = ["sample_rows", "weighted_choice"]


def sample_rows(rows: Tensor, max_rows: int, generator: torch.Generator) -> Tensor:
    """At most ``max_rows`` of the rows [B, ...], uniformly without replacement, in given order."""
    if len(rows) <= max_rows:
        return rows
    chosen = torch.randperm(len(rows), generator=generator)[:max_rows].sort().values
    return rows.index_select(0, chosen.to(rows.device))


def weighted_choice(
    weights: Tensor, allowed: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draws distinct columns of each row with probability proportional to its weights.

    Where fewer than ``count`` weights are positive, allowed columns of weight 0 follow, uniformly.
    (Exponential races: Efraimidis and Spirakis 2006.)

    Args:
        weights: float64 [n, B] >= 0, on the CPU.
        allowed: bool [n, B]; other columns are never drawn while an allowed one is left.
        count: columns to draw, at most B.
        generator: on the CPU.

    Returns:
        (columns int64 [n, count] in the order drawn, bool [n, count]: drawn by weight).
    """
    arrival = torch.empty_like(weights).exponential_(generator=generator)
    heaviest = weights.amax(dim=1, keepdim=True).clamp_(min=torch.finfo(weights.dtype).tiny)
    # A race is won by the largest weight / arrival; losers without weight line up below zero.
    keys = torch.where(weights > 0, weights / heaviest / arrival, -arrival)
    keys.masked_fill_(~allowed, -torch.inf)
    best, columns = keys.topk(count, dim=1)
    return columns, best > 0
