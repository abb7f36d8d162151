"""Measured operational rate-distortion curves: what residual codebooks of each size really lose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.analysis.dims import MIN_CODES, level_positions
from spinlock.analysis.rate_distortion import water_level
from spinlock.analysis.residual_kmeans import (
    ALIGNMENT,
    CodebookStack,
    Rows,
    columns_of,
    spread_rows,
)
from spinlock.analysis.statistics import one_blas_thread

FIT_SHARE = 0.75
FIT_ROWS = 4096
_START_ROWS = 1536
LLOYD_STEPS = 8

# Bits of a level, from two codes up; then in steps of a half.
_LEVEL_BITS = (1.0, 5 / 3, 7 / 3, 3.0, 3.5, 4.0, 4.5, 5.0, 17 / 3, 19 / 3, 7.0)
# How far levels 0, 1 and 2 stand above or below the mean of their bits.
LEVEL_OFFSETS = ((0.0, 0.0, 0.0), (1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (3.0, -1.0, -2.0))
PUBLISHED_OFFSETS = (LEVEL_OFFSETS[1],)

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class OperatingPoint:
    """Codebook sizes of one category and the error that they left on rows not fitted to.

    Attributes:
        codebook_sizes: one per level.
        distortion: mean squared error per feature, in the squared units of the rows.

    >>> OperatingPoint((8, 4, 2), 0.25).bits
    6.0
    """

    codebook_sizes: Sizes
    distortion: float

    @property
    def bits(self) -> float:
        """The sum of log2 of the sizes."""
        return sum(map(math.log2, self.codebook_sizes))


def candidate_sizes(
    num_levels: int,
    most_codes: int,
    offsets: Sequence[Sequence[float]] = LEVEL_OFFSETS,
) -> list[Sizes]:
    """Codebook sizes worth measuring, from 2 codes per level to ``most_codes`` per level.

    For three levels, K_l = round(2^(b + s_l)) for bits b per level and level offsets s.  For other
    numbers of levels the offsets are interpolated over the level position, and shifted so that
    they sum to 0.

    >>> candidate_sizes(3, 4)[:3], candidate_sizes(1, 16)
    ([(2, 2, 2), (4, 2, 2), (4, 3, 2)], [(2,), (3,), (5,), (8,), (11,), (16,)])
    """
    highest = math.log2(most_codes)
    grid = (*_LEVEL_BITS, *np.arange(_LEVEL_BITS[-1] + 0.5, highest, 0.5))
    per_level = [bits for bits in grid if bits < highest] + [highest]
    found = {
        tuple(
            min(most_codes, max(MIN_CODES, round(2.0 ** (bits + shift))))
            for shift in _at_levels(split, num_levels)
        )
        for bits in per_level
        for split in offsets
    }
    return sorted(found, key=lambda sizes: (OperatingPoint(sizes, 0.0).bits, sizes))


class CurveMeasurer:
    """Measures what residual codebooks of any sizes leave of one category.

    The rows are split once, 75 to 25: principal components and codebooks are fitted to the first
    part, of which k-means takes at most ``fit_rows``, and every error is of the second.  Codebooks
    work on the leading components only, twice as many as lie above the water level at the most
    bits that are measured; the rest counts as lost.

    Args:
        rows: [n, p], n >= 2, as the model will see them (z-scores).
        most_bits: the most bits that will be asked for.
        seed: of the split and of all draws.
        fit_rows: rows that k-means takes at most.

    >>> rows = np.random.default_rng(0).normal(size=(400, 3))
    >>> few, many = CurveMeasurer(rows, most_bits=9.0).measure([(2, 2), (8, 8)])
    >>> few.bits, many.bits, few.distortion > many.distortion > 0.0
    (2.0, 6.0, True)
    """

    def __init__(
        self, rows: ArrayLike, most_bits: float, seed: int = 0, fit_rows: int = FIT_ROWS
    ) -> None:
        values = np.asarray(rows, np.float64)
        order = np.random.default_rng(seed).permutation(len(values))
        last = max(1, round(FIT_SHARE * len(values)))
        fit, held = values[order[:last]], values[order[last:]]
        self.num_features = values.shape[1]
        self.num_held_rows = len(held)
        self._seed = seed
        mean = fit.mean(axis=0)
        fit, held = fit - mean, held - mean
        with one_blas_thread():
            variances, axes = np.linalg.eigh(fit.T @ fit / len(fit))
            level = water_level(variances, most_bits)
            kept = min(self.num_features, max(2, 2 * int((variances > level).sum())))
            leading = axes[:, ::-1][:, :kept]
            self._fit = _padded(fit[:fit_rows] @ leading)
            self._held = _padded(held @ leading)
        self.num_fit_rows = len(self._fit)
        self._dim = self._fit.shape[1]
        # What no code can win back: the part of the rows outside the leading components.
        self._outside = float((held**2).sum() - (self._held.astype(np.float64) ** 2).sum())

    def measure(self, sizes: Sequence[Sizes]) -> list[OperatingPoint]:
        """The error of each of these codebook sizes, all with the same number of levels.

        Codebooks of equal sizes in all levels so far are fitted once, and do not depend on what
        else is measured.
        """
        parents: list[Sizes] = [()]
        fit, held = self._fit, self._held
        errors: dict[Sizes, float] = {}
        for depth in range(1, len(sizes[0]) + 1):
            prefixes = sorted({chosen[:depth] for chosen in sizes})
            order = [parents.index(prefix[:-1]) for prefix in prefixes]
            stack = self._started(prefixes, parents, fit)
            fit, held = columns_of(fit, self._dim, order), columns_of(held, self._dim, order)
            stack.refine(fit, LLOYD_STEPS)
            if depth == len(sizes[0]):
                totals = stack.squared_errors(held)
                errors = dict(zip(prefixes, totals.tolist(), strict=True))
            else:
                fit -= stack.quantized(fit)
                held -= stack.quantized(held)
            parents = prefixes
        cells = self.num_held_rows * self.num_features
        return [
            OperatingPoint(chosen, max(0.0, errors[chosen] + self._outside) / cells)
            for chosen in sizes
        ]

    def _started(
        self, prefixes: Sequence[Sizes], parents: Sequence[Sizes], fit: Rows
    ) -> CodebookStack:
        """Codebooks for these prefixes, started from rows of what their parents leave."""
        stack = CodebookStack(tuple(prefix[-1] for prefix in prefixes), self._dim)
        for at, parent in enumerate(parents):
            children = [i for i, prefix in enumerate(prefixes) if prefix[:-1] == parent]
            rows = np.ascontiguousarray(fit[:_START_ROWS, at * self._dim : (at + 1) * self._dim])
            rng = np.random.default_rng([self._seed, *parent])
            most = max(prefixes[child][-1] for child in children)
            codes = rows[spread_rows(rows, most, rng)]
            for child in children:
                stack.set_codes(child, codes[: prefixes[child][-1]])
        return stack


def lower_hull(points: Sequence[OperatingPoint], alpha: float = 1.0) -> tuple[OperatingPoint, ...]:
    """The points on the lower convex hull of (bits, distortion^alpha), by ascending bits.

    The first has the fewest bits (the least distortion among those), the last the least
    distortion; points that cost more bits and lose more are in no hull.

    >>> points = [OperatingPoint((2,), 1.0), OperatingPoint((4,), 0.8), OperatingPoint((8,), 0.2)]
    >>> [point.codebook_sizes for point in lower_hull(points)]
    [(2,), (8,)]
    """
    hull: list[OperatingPoint] = []
    for point in sorted(points, key=lambda p: (p.bits, p.distortion, p.codebook_sizes)):
        if hull and point.distortion >= hull[-1].distortion:
            continue
        while len(hull) > 1 and _drop(hull[-1], point, alpha) >= _drop(hull[-2], hull[-1], alpha):
            hull.pop()
        hull.append(point)
    return tuple(hull)


def _drop(left: OperatingPoint, right: OperatingPoint, alpha: float) -> float:
    won: float = left.distortion**alpha - right.distortion**alpha
    return won / (right.bits - left.bits)


def _at_levels(split: Sequence[float], num_levels: int) -> list[float]:
    positions = level_positions(num_levels)
    values = np.interp(positions, (0.0, 1.0, 2.0), split)
    return [float(value) for value in values - values.mean()]


def _padded(rows: NDArray[np.float64]) -> Rows:
    width = -(-rows.shape[1] // ALIGNMENT) * ALIGNMENT
    padded = np.zeros((len(rows), width), np.float32)
    padded[:, : rows.shape[1]] = rows
    return padded
