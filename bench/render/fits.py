"""Cost curves: how time and memory grow with B, K, D and Q, and the exponents fitted to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import BenchError
from bench.record import Record, Row

__all__ = ["RULE", "Curve", "curves", "exponent", "fitted"]

AXES = "BKDQ"
RULE = (
    "Exponents: least squares on the logarithms of the upper half of the points, at least three "
    "where there are as many; below them the fixed cost of a call is the floor."
)


@dataclass(frozen=True)
class Curve:
    """One contender along one axis, smallest value first.

    Attributes:
        axis: B, K, D or Q.
        contender: its name.
        values: of the axis.
        seconds: median per call, on the first clock.
        peak_bytes: per value; None where it was not measured.
    """

    axis: str
    contender: str
    values: tuple[float, ...]
    seconds: tuple[float, ...]
    peak_bytes: tuple[int | None, ...]

    @property
    def time_fit(self) -> tuple[float, float] | None:
        """Exponent and r squared of the time; None for fewer than two points."""
        return fitted(self.values, self.seconds)

    @property
    def memory_fit(self) -> tuple[float, float] | None:
        """The same of the memory, over the points that hold any."""
        held = [(v, float(b)) for v, b in zip(self.values, self.peak_bytes, strict=True) if b]
        return fitted([v for v, _ in held], [b for _, b in held])


def exponent(values: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """The power of ``values`` that ``seconds`` grows with, by least squares on the logarithms.

    Only the points above the floor count: the larger half of the values, rounded up, and at
    least three of them where there are three.

    >>> exponent([1, 2, 4, 8, 16, 32], [5.0, 5.0, 5.0, 8.0, 16.0, 32.0])
    (1.0, 1.0)

    Returns:
        The exponent, and the share of the logarithms' variance that it explains.

    Raises:
        BenchError: fewer than two points, or one that is not positive.
    """
    points = sorted(zip(values, seconds, strict=True))
    upper = points[-max(math.ceil(len(points) / 2), min(3, len(points))) :] if points else []
    if len({value for value, _ in upper}) < 2 or min(min(point) for point in upper) <= 0.0:
        raise BenchError(f"exponent: expected two or more positive points, got {points}")
    xs, ys = ([math.log(point[i]) for point in upper] for i in (0, 1))
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    spread_x = math.fsum((x - mean_x) ** 2 for x in xs)
    spread_y = math.fsum((y - mean_y) ** 2 for y in ys)
    both = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    flat = spread_y <= 1e-24 * len(ys)
    return round(both / spread_x, 6), 1.0 if flat else round(both**2 / (spread_x * spread_y), 6)


def fitted(values: Sequence[float], results: Sequence[float]) -> tuple[float, float] | None:
    """``exponent``, or None where there are too few points for one."""
    try:
        return exponent(values, results)
    except BenchError:
        return None


def curves(record: Record) -> list[Curve]:
    """Every contender along every axis, in the order B, K, D, Q and as measured."""
    found: dict[tuple[str, str], list[tuple[float, Row]]] = {}
    for row in record.rows:
        axis = curve_axis(row)
        if axis is not None and row.status == "ok" and row.timing() is not None:
            found.setdefault((axis, row.contender), []).append((row.figures[axis], row))
    return [
        _curve(axis, contender, points)
        for (axis, contender), points in sorted(
            found.items(), key=lambda item: AXES.index(item[0][0])
        )
    ]


def curve_axis(row: Row) -> str | None:
    """The axis that a row of the suite ``curves`` is a point of."""
    if row.suite != "curves":
        return None
    return next((axis for axis in AXES if axis in row.figures), None)


def _curve(axis: str, contender: str, points: list[tuple[float, Row]]) -> Curve:
    points = sorted(points, key=lambda point: point[0])
    timings = [row.timing() for _, row in points]
    return Curve(
        axis,
        contender,
        tuple(value for value, _ in points),
        tuple(timing.median for timing in timings if timing is not None),
        tuple(row.peak_bytes for _, row in points),
    )
