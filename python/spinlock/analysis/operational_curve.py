"""Points of an operational rate-distortion curve: codebook sizes, and the error that they leave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spinlock.analysis.dims import MIN_CODES, level_positions

# Bits of a level, from two codes up; then in steps of a half.
_LEVEL_BITS = (1.0, 5 / 3, 7 / 3, 3.0, 3.5, 4.0, 4.5, 5.0, 17 / 3, 19 / 3, 7.0)
# How far levels 0, 1 and 2 stand above or below the mean of their bits.
LEVEL_OFFSETS = ((0.0, 0.0, 0.0), (1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (3.0, -1.0, -2.0))
PUBLISHED_OFFSETS = (LEVEL_OFFSETS[1],)

_NEARLY_LOG = 1e-3

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


def promising(points: Sequence[OperatingPoint], slack: float) -> list[OperatingPoint]:
    """The points at most ``slack`` times above the lower convex hull of (bits, log distortion).

    >>> points = [OperatingPoint((2,), 1.0), OperatingPoint((4,), 0.9), OperatingPoint((16,), 0.1)]
    >>> [point.codebook_sizes for point in promising(points, 1.3)]
    [(2,), (16,)]
    """
    if min(point.distortion for point in points) <= 0.0:
        return list(points)
    # A small exponent bends the hull as the logarithm does.
    hull = lower_hull(points, _NEARLY_LOG)
    bits = [point.bits for point in hull]
    logs = [math.log(point.distortion) for point in hull]
    return [
        point
        for point in points
        if math.log(point.distortion) <= np.interp(point.bits, bits, logs) + math.log(slack)
    ]


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
