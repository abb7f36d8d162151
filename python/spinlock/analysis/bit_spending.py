"""Greedy spending of a bit budget over the categories' rate-distortion curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from spinlock.analysis.operational_curve import OperatingPoint, Sizes, lower_hull
from spinlock.errors import ConfigError

Curves = Mapping[str, Sequence[OperatingPoint]]

# Sums of logarithms that are equal on paper differ by less than this.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class _Step:
    """From one point of a hull to the next: what it costs, and what it wins per bit."""

    name: str
    start: OperatingPoint
    end: OperatingPoint
    slope: float

    @property
    def bits(self) -> float:
        return self.end.bits - self.start.bits


def spend_bits(curves: Curves, bits: float, alpha: float) -> dict[str, Sizes]:
    """Codebook sizes by category that make sum of distortion^alpha small at so many bits.

    Starts at every category's fewest bits and goes from point to point of the lower convex hulls of
    (bits, distortion^alpha), always where the drop per bit is largest (Shoham and Gersho 1988,
    Efficient bit allocation for an arbitrary set of quantizers).  After any number of whole steps
    no other choice of points with as few bits is better.  The step that the budget cuts short is
    taken in part: its sizes lie geometrically between those of its two points.

    Args:
        curves: measured points by category, at least one each.
        bits: the budget, per row.
        alpha: 1 minimises the mean over categories; the larger, the more the worst one counts.

    Raises:
        ConfigError: a budget below the fewest bits that the curves have.

    >>> curves = {
    ...     "hard": [OperatingPoint((2,), 0.8), OperatingPoint((4,), 0.5)],
    ...     "easy": [OperatingPoint((2,), 0.4), OperatingPoint((4,), 0.2)]}
    >>> spend_bits(curves, 3.0, alpha=1.0), spend_bits(curves, 4.0, alpha=1.0)
    ({'hard': (4,), 'easy': (2,)}, {'hard': (4,), 'easy': (4,)})
    >>> spend_bits(curves, 2.6, alpha=1.0)
    {'hard': (3,), 'easy': (2,)}
    """
    left = bits - fewest_bits(curves)
    if left < -_ROUNDING:
        raise ConfigError(
            f"a budget of {bits:.2f} bits per row is too small: the smallest codebooks of "
            f"{len(curves)} categories take {fewest_bits(curves):.2f} bits; give more bits, or "
            "lower the number of levels or categories"
        )
    hulls = _hulls(curves, alpha)
    sizes = {name: hull[0].codebook_sizes for name, hull in hulls.items()}
    for step in _steps(hulls, alpha):
        if step.bits > left + _ROUNDING:
            sizes[step.name] = _sizes_between(step.start, step.end, left)
            break
        sizes[step.name] = step.end.codebook_sizes
        left -= step.bits
    return sizes


def reach_error(curves: Curves, target: float, alpha: float) -> dict[str, OperatingPoint]:
    """The points after the fewest such steps that bring the mean error to at most ``target``.

    Those after the last step where none does.

    >>> curves = {"a": [OperatingPoint((2,), 0.8), OperatingPoint((4,), 0.5)],
    ...     "b": [OperatingPoint((2,), 0.4), OperatingPoint((4,), 0.2)]}
    >>> [point.codebook_sizes for point in reach_error(curves, 0.5, alpha=4.0).values()]
    [(4,), (2,)]
    >>> mean_error(reach_error(curves, 0.1, alpha=4.0))
    0.35
    """
    for chosen in greedy_path(curves, alpha):
        if mean_error(chosen) <= target:
            break
    return chosen


def greedy_path(curves: Curves, alpha: float) -> Iterator[dict[str, OperatingPoint]]:
    """The points of all categories at the start and after every whole step, bits ascending."""
    hulls = _hulls(curves, alpha)
    chosen = {name: hull[0] for name, hull in hulls.items()}
    yield dict(chosen)
    for step in _steps(hulls, alpha):
        chosen[step.name] = step.end
        yield dict(chosen)


def fewest_bits(curves: Curves) -> float:
    """What the cheapest point of every category takes together."""
    return sum(min(point.bits for point in points) for points in curves.values())


def most_bits(curves: Curves, alpha: float) -> float:
    """What the best point of every category takes together: more bits would win nothing."""
    return sum(hull[-1].bits for hull in _hulls(curves, alpha).values())


def mean_error(chosen: Mapping[str, OperatingPoint]) -> float:
    """The mean over categories of their distortions."""
    return sum(point.distortion for point in chosen.values()) / len(chosen)


def _hulls(curves: Curves, alpha: float) -> dict[str, tuple[OperatingPoint, ...]]:
    return {name: lower_hull(points, alpha) for name, points in curves.items()}


def _steps(hulls: Mapping[str, tuple[OperatingPoint, ...]], alpha: float) -> Iterator[_Step]:
    """All steps of all hulls, the largest drop per bit first; ties in the categories' order."""
    found = [
        _Step(name, start, end, (start.distortion**alpha - end.distortion**alpha) / gained)
        for name, hull in hulls.items()
        for start, end in pairwise(hull)
        if (gained := end.bits - start.bits) > 0.0
    ]
    # A hull's slopes fall, and the sort is stable, so that the steps of each hull stay in order.
    return iter(sorted(found, key=lambda step: -step.slope))


def _sizes_between(start: OperatingPoint, end: OperatingPoint, bits: float) -> Sizes:
    """Whole sizes that cost at most ``bits`` more than ``start``, on the way to ``end``."""
    share = bits / (end.bits - start.bits)
    ideal = [
        low ** (1.0 - share) * high**share
        for low, high in zip(start.codebook_sizes, end.codebook_sizes, strict=True)
    ]
    sizes = [int(size + _ROUNDING) for size in ideal]
    # Whole numbers are below the ideal: levels that lost most grow by one code, if that fits.
    short = [level for level in range(len(sizes)) if sizes[level] < ideal[level] - _ROUNDING]
    by_need = sorted(short, key=lambda level: sizes[level] - ideal[level])
    for level in by_need:
        grown = tuple(size + (at == level) for at, size in enumerate(sizes))
        if OperatingPoint(grown, 0.0).bits <= start.bits + bits + _ROUNDING:
            sizes[level] += 1
    return tuple(sizes)
