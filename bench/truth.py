"""The truth in float64 that the gate compares with, on the device of the data.

``spinlock.ops._reference`` for nearest codes, plain formulas for moving averages.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.peers.contender import EMA, Contract
from bench.problems import Problem
from spinlock.layout import CodebookLayout
from spinlock.ops import _reference

__all__ = ["LEAST_ROWS", "Averages", "compared", "nearest", "sampled_rows"]

LEAST_ROWS = 64
"""So many rows are compared however much each of them costs."""

# Distances times dimensions that the truth of one batch may cost: under a second.
_ELEMENTS = {"cpu": 1 << 27}
_GPU_ELEMENTS = 1 << 33
_EDGE_ROWS = 16


class Averages:
    """The EMA of van den Oord et al. 2017, appendix A.1, in float64; counts start at one."""

    def __init__(self, codebooks: list[Tensor], ema: EMA) -> None:
        self.ema = ema
        self.codebooks = codebooks
        self.counts = [codes.new_ones(len(codes)) for codes in codebooks]
        self.sums = [codes.clone() for codes in codebooks]

    def step(self, rows: Tensor, indices: Tensor) -> None:
        """With rows [B, sum D_q] and the codes [B, Q] that they were given."""
        decay, epsilon = self.ema.decay, self.ema.epsilon
        widths = [codes.shape[1] for codes in self.codebooks]
        codebooks = []
        for q, part in enumerate(torch.split(rows, widths, dim=1)):
            chosen = indices[:, q]
            ones = self.counts[q].new_ones(len(chosen))
            counts = torch.zeros_like(self.counts[q]).index_add_(0, chosen, ones)
            sums = torch.zeros_like(self.sums[q]).index_add_(0, chosen, part.double())
            self.counts[q] = decay * self.counts[q] + (1.0 - decay) * counts
            self.sums[q] = decay * self.sums[q] + (1.0 - decay) * sums
            total = self.counts[q].sum()
            smoothed = (self.counts[q] + epsilon) / (total + len(counts) * epsilon) * total
            codebooks.append(self.sums[q] / smoothed[:, None])
        self.codebooks = codebooks


def compared(
    contract: Contract, rows: Tensor, books: list[Tensor], chosen: Tensor, truth: Tensor
) -> tuple[float, float]:
    """(share of wrong indices, largest excess of a squared distance over |x|^2 + |c|^2)."""
    wrong, most = 0, 0.0
    widths = [codes.shape[1] for codes in books]
    for q, part in enumerate(torch.split(rows.double(), widths, dim=1)):
        differ = (chosen[:, q] != truth[:, q]).nonzero().flatten()
        if not len(differ):
            continue
        x = part.index_select(0, differ)
        theirs = books[q].index_select(0, chosen[:, q].index_select(0, differ))
        best = books[q].index_select(0, truth[:, q].index_select(0, differ))
        excess = _squared(x - theirs) - _squared(x - best)
        wrong += len(differ) if contract.exact else int((~(excess <= 0)).sum())
        scale = _squared(x) + _squared(theirs)
        most = max(most, float((excess / scale).max()))
    return wrong / truth.numel(), most


def _squared(difference: Tensor) -> Tensor:
    """[n] of [n, D]: added up over d, ascending, as the truth does."""
    sums = difference.new_zeros(len(difference))
    for column in difference.unbind(dim=1):
        sums += column * column
    return sums


def nearest(rows: Tensor, codebooks: Sequence[Tensor]) -> Tensor:
    """The truth, int64 [n, Q]."""
    columns = []
    widths = [codes.shape[1] for codes in codebooks]
    for codes, part in zip(codebooks, torch.split(rows, widths, dim=1), strict=True):
        layout = CodebookLayout((len(codes),), (codes.shape[1],), 1)
        columns.append(_reference.nearest_codes(part, codes.reshape(-1), layout, None))
    return torch.cat(columns, dim=1)


def sampled_rows(problem: Problem) -> Tensor:
    """Rows to compare, ascending: all, or as many as are cheap, with the first and last ones."""
    rows, device = problem.workload.num_rows, problem.device
    elements = _ELEMENTS.get(device.type, _GPU_ELEMENTS)
    wanted = max(LEAST_ROWS, elements // problem.workload.code_elements)
    if wanted >= rows:
        return torch.arange(rows, device=device)
    drawn = torch.randperm(rows, generator=torch.Generator().manual_seed(rows))
    edge = torch.arange(_EDGE_ROWS)
    chosen = torch.cat([edge, rows - 1 - edge, drawn[: wanted - 2 * _EDGE_ROWS]])
    return chosen.unique().to(device)  # type: ignore[no-any-return, no-untyped-call]
