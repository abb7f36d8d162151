"""The two passes over the training rows that cleaning is fitted from, as mergeable statistics."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.analysis.statistics import (
    GramMatrix,
    GramResult,
    Moments,
    MomentsResult,
    RowReservoir,
    RowSample,
)
from spinlock.data.column_repair import ColumnRepair
from spinlock.data.table import as_float32
from spinlock.engine import Mergeable

S = TypeVar("S", bound=Mergeable)


class RunPass(Protocol):
    """Runs one pass over the training rows; see ``FeatureCleaner.fit_passes``."""

    def __call__(self, make_state: Callable[[], S], /) -> S:
        """The statistic that ``make_state`` makes, with all rows in it."""
        ...


class FiniteMoments(Moments):
    """Moments of float32: what lies beyond its range does not count as finite."""

    def update(self, block: ArrayLike, first_row: int = 0) -> Self:  # noqa: ARG002
        """Add rows; their numbers do not matter here."""
        return super().update(as_float32(block, "the feature matrix"))


@dataclass(frozen=True, eq=False)
class RawColumns:
    """First pass: the columns as they come. ``moments`` count what is finite."""

    moments: MomentsResult
    sample: RowSample


class RawColumnsPass:
    """Moments and a row sample of raw blocks [n, D]."""

    def __init__(self, sample_rows: int, seed: int, ceiling: int | None = None) -> None:
        self._moments = Moments()
        self._sample = RowReservoir(sample_rows, seed, ceiling)

    def update(self, block: ArrayLike, first_row: int) -> Self:
        """Add rows ``first_row`` onwards."""
        rows = as_float32(block, "the feature matrix")
        self._moments.update(rows)
        self._sample.update(rows, first_row)
        return self

    def merge(self, other: "RawColumnsPass") -> Self:
        """Add what ``other`` has seen."""
        self._moments.merge(other._moments)
        self._sample.merge(other._sample)
        return self

    def finalise(self) -> RawColumns:
        """The result of the pass."""
        return RawColumns(self._moments.finalise(), self._sample.finalise())


@dataclass(frozen=True, eq=False)
class RepairedColumns:
    """Second pass: k columns after filling and capping.

    Attributes:
        moments: of the repaired values.
        mean_magnitude: float64 [k], mean of |x|.
        filled, capped: int64 [k], values replaced by the median, values moved to a cap.
        correlation: float64 [k, k], or None where duplicates are not looked for.
        masked: int64 [c], raw columns whose missing values were looked at.
        masks: statistics of their masks, 1 where a value is missing; None where c is 0.
    """

    moments: MomentsResult
    mean_magnitude: NDArray[np.float64]
    filled: NDArray[np.int64]
    capped: NDArray[np.int64]
    correlation: NDArray[np.float64] | None
    masked: NDArray[np.int64]
    masks: GramResult | None


class RepairedColumnsPass:
    """What the columns look like once ``repair`` has been applied to raw blocks [n, D]."""

    def __init__(self, repair: ColumnRepair, *, correlate: bool, masked: NDArray[np.int64]) -> None:
        width = len(repair.columns)
        self._repair = repair
        self._moments = Moments()
        self._gram = GramMatrix() if correlate else None
        self._masked = masked
        self._masks = GramMatrix() if masked.size else None
        self._magnitude = np.zeros(width)
        self._filled = np.zeros(width, dtype=np.int64)
        self._capped = np.zeros(width, dtype=np.int64)

    def update(self, block: ArrayLike, first_row: int) -> Self:  # noqa: ARG002
        """Add rows; their numbers do not matter here."""
        rows = np.asarray(block)
        if self._masks is not None:
            self._masks.update(~np.isfinite(rows[:, self._masked]))
        taken = self._repair.take(rows)
        self._filled += (~np.isfinite(taken)).sum(axis=0)
        filled = self._repair.filled(taken)
        self._capped += ((filled < self._repair.lower) | (filled > self._repair.upper)).sum(axis=0)
        repaired = self._repair.capped(filled)
        self._moments.update(repaired)
        self._magnitude += np.abs(repaired).sum(axis=0, dtype=np.float64)
        if self._gram is not None:
            self._gram.update(repaired)
        return self

    def merge(self, other: "RepairedColumnsPass") -> Self:
        """Add what ``other``, a pass with the same repair, has seen."""
        self._moments.merge(other._moments)
        if self._gram is not None and other._gram is not None:
            self._gram.merge(other._gram)
        if self._masks is not None and other._masks is not None:
            self._masks.merge(other._masks)
        self._magnitude += other._magnitude
        self._filled += other._filled
        self._capped += other._capped
        return self

    def finalise(self) -> RepairedColumns:
        """The result of the pass."""
        moments = self._moments.finalise()
        return RepairedColumns(
            moments=moments,
            mean_magnitude=self._magnitude / moments.num_rows,
            filled=self._filled.copy(),
            capped=self._capped.copy(),
            correlation=None if self._gram is None else self._gram.finalise().correlation,
            masked=self._masked,
            masks=None if self._masks is None else self._masks.finalise(),
        )
