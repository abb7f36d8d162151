"""Count, mean, variance and range of every column, in one pass over blocks."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.analysis.statistics.blocks import (
    LARGEST,
    as_block,
    pieces,
    require_mergeable,
    require_rows,
)
from spinlock.analysis.statistics.centring import Floats, Mean, centred, merged_mean
from spinlock.errors import DataError


@dataclass(frozen=True, eq=False)
class MomentsResult:
    """What ``Moments`` found; columns without a finite value hold NaN.

    Attributes:
        num_rows: rows seen.
        count: int64 [D], finite values.
        non_finite: int64 [D], NaN and infinities.
        mean, variance, minimum, maximum: float64 [D] of the finite values; the variance is the
            population's (divided by the count).
    """

    num_rows: int
    count: NDArray[np.int64]
    non_finite: NDArray[np.int64]
    mean: Floats
    variance: Floats
    minimum: Floats
    maximum: Floats

    @property
    def std(self) -> Floats:
        """Population standard deviation, float64 [D]."""
        deviation: Floats = np.sqrt(self.variance)
        return deviation


class Moments:
    """Mergeable moments of the columns of [N, D]; NaN and infinities are counted and left out.

    Counts and range are the same for any blocks and any merge tree; mean and variance agree to
    1e-12 of the column's largest magnitude and of the variance itself. The same blocks, merged in
    the same order, give the same bits.

    >>> left = Moments().update([[1.0, 5.0], [3.0, float("nan")]])
    >>> result = left.merge(Moments().update([[5.0, 7.0]])).finalise()
    >>> result.mean.tolist(), result.variance.round(3).tolist(), result.non_finite.tolist()
    ([3.0, 6.0], [2.667, 1.0], [0, 1])
    """

    def __init__(self) -> None:
        self.num_rows = 0
        self._count = np.zeros(0)
        self._mean = Mean(np.zeros(0), np.zeros(0))
        self._scatter = np.zeros(0)
        self._minimum = np.zeros(0)
        self._maximum = np.zeros(0)

    @property
    def num_features(self) -> int | None:
        """D, or None before the first block."""
        return len(self._count) or None

    def update(self, block: ArrayLike) -> Self:
        """Add the rows of ``block`` [n, D].

        Raises:
            DataError: a block of other width, of text, or with finite numbers beyond 1e140.
        """
        rows = as_block(block, self.num_features)
        if self.num_features is None:
            self._resize(rows.shape[1])
        self.num_rows += len(rows)
        for piece in pieces(rows):
            self._add(piece)
        return self

    def merge(self, other: "Moments") -> Self:
        """Add everything that ``other`` has seen; ``other`` stays as it is."""
        require_mergeable(self.num_features, other.num_features)
        if other.num_features is not None:
            if self.num_features is None:
                self._resize(other.num_features)
            self.num_rows += other.num_rows
            self._combine(other._count, other._mean, other._scatter, other._minimum, other._maximum)
        return self

    def finalise(self) -> MomentsResult:
        """The moments of all rows so far.

        Raises:
            DataError: no row was seen.
        """
        require_rows(self.num_rows, "moments")
        seen = self._count > 0
        count = self._count.astype(np.int64)
        return MomentsResult(
            num_rows=self.num_rows,
            count=count,
            non_finite=self.num_rows - count,
            mean=np.where(seen, self._mean.value(), np.nan),
            variance=np.where(seen, self._scatter / np.maximum(self._count, 1.0), np.nan),
            minimum=np.where(seen, self._minimum, np.nan),
            maximum=np.where(seen, self._maximum, np.nan),
        )

    def _resize(self, num_features: int) -> None:
        zeros = np.zeros(num_features)
        self._count, self._scatter = zeros.copy(), zeros.copy()
        self._mean = Mean(zeros.copy(), zeros.copy())
        self._minimum, self._maximum = zeros + np.inf, zeros - np.inf

    def _add(self, piece: Floats) -> None:
        finite = np.isfinite(piece)
        mask = None if finite.all() else finite
        minimum = np.where(finite, piece, np.inf).min(axis=0)
        maximum = np.where(finite, piece, -np.inf).max(axis=0)
        largest = np.maximum(-minimum, maximum)
        if largest.max() > LARGEST:
            column = int(largest.argmax())
            raise DataError(
                f"column {column} holds {largest[column]:.3g}, beyond {LARGEST:.0e}: its variance "
                "does not fit float64. Rescale the column or mark the value as NaN."
            )
        mean, deviations = centred(piece, mask)
        count = finite.sum(axis=0).astype(np.float64)
        scatter = np.maximum(np.square(deviations).sum(axis=0) - count * np.square(mean.low), 0.0)
        self._combine(count, mean, scatter, minimum, maximum)

    def _combine(
        self, count: Floats, mean: Mean, scatter: Floats, minimum: Floats, maximum: Floats
    ) -> None:
        self._mean, step, weight = merged_mean(self._mean, self._count, mean, count)
        self._scatter = self._scatter + scatter + np.square(step) * weight
        self._count = self._count + count
        self._minimum = np.minimum(self._minimum, minimum)
        self._maximum = np.maximum(self._maximum, maximum)
