"""Means held as two floats, so that merged scatter loses nothing to a large offset.

A mean is the unevaluated sum ``high + low``. Differences of such means are right to the last bits
even where the mean is 1e10 standard deviations from 0, and the pairwise update of Chan, Golub and
LeVeque (1979), S = S_a + S_b + (n_a n_b / n) d d^T with d = mean_b - mean_a, stays a sum of
accurate, non-negative terms.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Mean(NamedTuple):
    """The mean of each column as ``high + low``, two float64 [D]."""

    high: Floats
    low: Floats

    def value(self) -> Floats:
        """The mean rounded to float64."""
        return self.high + self.low

    def minus(self, other: "Mean") -> Floats:
        """``self - other`` per column."""
        return (self.high - other.high) + (self.low - other.low)

    def moved(self, step: Floats) -> "Mean":
        """``self + step``."""
        return normalised(self.high, self.low + step)


def normalised(high: Floats, low: Floats) -> Mean:
    """The same sum with ``high`` its rounded value (two-sum of Knuth and Moller)."""
    total = high + low
    part = total - high
    return Mean(total, (high - (total - part)) + (low - part))


def chosen(mask: NDArray[np.bool_], a: Mean, b: Mean) -> Mean:
    """Per column, ``a`` where ``mask`` holds and ``b`` elsewhere."""
    return Mean(np.where(mask, a.high, b.high), np.where(mask, a.low, b.low))


def centred(values: Floats, mask: NDArray[np.bool_] | None = None) -> tuple[Mean, Floats]:
    """Means of the masked entries of [n, D], n >= 1, and the deviations from ``mean.high``.

    Entries outside ``mask`` deviate by 0, and a column without any has mean 0. The mean is taken
    relative to one of the column's own values, so that constant columns deviate by exactly 0.
    """
    if mask is None:
        first = values[0]
        deviations = values - first
        counts: Floats | float = float(len(values))
    else:
        first = np.take_along_axis(values, mask.argmax(axis=0)[None], axis=0)[0]
        first = np.where(mask.any(axis=0), first, 0.0)
        deviations = np.where(mask, values, first) - first
        counts = np.maximum(mask.sum(axis=0), 1).astype(np.float64)
    high = first + deviations.sum(axis=0) / counts
    deviations = values - high if mask is None else np.where(mask, values, high) - high
    return Mean(high, deviations.sum(axis=0) / counts), deviations


def merged_mean(a: Mean, count_a: Floats, b: Mean, count_b: Floats) -> tuple[Mean, Floats, Floats]:
    """The common mean of two sets of rows, with ``d = mean_b - mean_a`` and n_a n_b / n.

    Each column moves from the mean of its larger side, whose step is the smaller one, and 0 where
    the other side is empty, whatever mean it claims.
    """
    total = np.maximum(count_a + count_b, 1.0)
    step = b.minus(a)
    larger = np.asarray(count_b > count_a)
    start = chosen(larger, b, a)
    share = np.where(larger, -count_a, count_b) / total
    return start.moved(step * share), step, count_a * (count_b / total)
