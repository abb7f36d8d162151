"""What any number of bits per row would buy: the errors along the greedy path of spending."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from spinlock.analysis.bit_spending import (
    fewest_bits,
    greedy_path,
    most_bits,
    spend_bits,
)
from spinlock.analysis.category_curves import CategoryCurves
from spinlock.analysis.operational_curve import OperatingPoint
from spinlock.analysis.rate_distortion import gaussian_distortion

_ROUNDING = 1e-9


@dataclass(frozen=True)
class BudgetPoint:
    """What is expected at one number of bits per row; errors are per feature, in z-units.

    Attributes:
        bits: bits per row of all categories.
        mean_mse: mean over categories of their errors.
        worst_mse: the largest of them.
        worst_category: whose it is.
        codes: codes in all codebooks.
        gaussian_mse: mean over categories of what a Gaussian loses at the bits of each.
    """

    bits: float
    mean_mse: float
    worst_mse: float
    worst_category: str
    codes: int
    gaussian_mse: float


@dataclass(frozen=True)
class BudgetCurve:
    """Errors against bits, by ascending bits.

    Attributes:
        allocated: bits spent where they lower the error most.
        equal: as many codes in every codebook, for comparison.
        alpha: the exponent that the bits were allocated with.
        gaussian: nothing was measured, for there were too few rows.
        rows: rows that the curves were measured on.

    >>> import numpy as np
    >>> from spinlock.analysis.category_curves import measure_curves
    >>> rng = np.random.default_rng(0)
    >>> rows = {"wide": rng.normal(size=(400, 6)), "narrow": rng.normal(size=(400, 2))}
    >>> curve = budget_curve(measure_curves(rows, every_size=True), alpha=1.0, around=12.0)
    >>> first, last = curve.allocated[0], curve.allocated[-1]
    >>> first.bits, first.mean_mse > last.mean_mse, curve.at(12.0).bits <= 12.0
    (6.0, True, True)
    """

    allocated: tuple[BudgetPoint, ...]
    equal: tuple[BudgetPoint, ...]
    alpha: float
    gaussian: bool
    rows: int

    def at(self, bits: float) -> BudgetPoint:
        """The last allocated point that costs at most so many bits; the first if none does."""
        within = [point for point in self.allocated if point.bits <= bits + _ROUNDING]
        return within[-1] if within else self.allocated[0]

    def equal_at(self, bits: float) -> tuple[float, float] | None:
        """(mean, worst) error of equal codebooks at so many bits; None where none was measured.

        Between two sizes the logarithm of the error is interpolated, for codebooks of in-between
        sizes do as well as that.
        """
        for low, high in pairwise(self.equal):
            if low.bits - _ROUNDING <= bits <= high.bits + _ROUNDING:
                share = (bits - low.bits) / (high.bits - low.bits)
                return (
                    _between(low.mean_mse, high.mean_mse, share),
                    _between(low.worst_mse, high.worst_mse, share),
                )
        return None


def budget_curve(curves: CategoryCurves, alpha: float, around: float) -> BudgetCurve:
    """The errors that go with every step of spending, and with equal codebooks everywhere.

    Args:
        curves: measured with ``every_size``, so that equal codebooks are among the sizes.
        alpha: the exponent that bits are allocated with.
        around: bits per row at which it is measured what categories say of each other.
    """
    low, high = fewest_bits(curves.points), most_bits(curves.points, alpha)
    spent = spend_bits(curves.points, min(max(around, low), high), alpha)
    curves = curves.with_shared_decoder(spent)
    allocated = [_point(curves, chosen) for chosen in greedy_path(curves.points, alpha)]
    sizes = sorted(
        set.intersection(*({p.codebook_sizes for p in points} for points in curves.points.values()))
    )
    equal = [
        _point(curves, {name: curves.at(name, chosen) for name in curves.points})
        for chosen in sizes
        if len(set(chosen)) == 1
    ]
    return BudgetCurve(tuple(allocated), tuple(equal), float(alpha), curves.gaussian, curves.rows)


def _point(curves: CategoryCurves, chosen: Mapping[str, OperatingPoint]) -> BudgetPoint:
    count = len(chosen)
    worst = max(chosen, key=lambda name: chosen[name].distortion)
    return BudgetPoint(
        bits=sum(point.bits for point in chosen.values()),
        mean_mse=sum(point.distortion for point in chosen.values()) / count,
        worst_mse=chosen[worst].distortion,
        worst_category=worst,
        codes=sum(sum(point.codebook_sizes) for point in chosen.values()),
        gaussian_mse=sum(
            gaussian_distortion(curves.spectra[name], point.bits) for name, point in chosen.items()
        )
        / count,
    )


def _between(low: float, high: float, share: float) -> float:
    if low <= 0.0 or high <= 0.0:
        return (1.0 - share) * low + share * high
    return math.exp((1.0 - share) * math.log(low) + share * math.log(high))
