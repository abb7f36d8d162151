"""What cleaning does to the values of a column: fill the holes, cap the outliers."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.analysis.statistics import column_mads, column_medians, column_quantiles
from spinlock.data.table import as_float32

OUTLIER_METHODS = ("percentile", "iqr", "mad", "none")

# The standard deviation of a normal distribution is 1.4826 of its MAD, and 0.7413 of its IQR.
NORMAL_MAD = 1.4826

# float32 cannot hold finer differences than this share of a value.
RESOLUTION = 2.0**-23

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ColumnRepair:
    """Columns to take, the value that replaces what is not finite, and the caps of each.

    Attributes:
        columns: int64 [k], indices into the raw columns.
        medians, lower, upper: float32 [k]; caps of -inf and inf cap nothing.
    """

    columns: NDArray[np.int64]
    medians: NDArray[np.float32]
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]

    @classmethod
    def fitted(
        cls, columns: NDArray[np.int64], rows: NDArray[Any], lower: Floats, upper: Floats
    ) -> "ColumnRepair":
        """The repair of ``columns`` of a sample [n, D], given their caps."""
        medians = column_medians(rows[:, columns])
        # A cap beyond float32's range becomes infinite and caps nothing.
        with np.errstate(over="ignore"):
            return cls(columns, *(v.astype(np.float32) for v in (medians, lower, upper)))

    @classmethod
    def identity(cls, num_features: int) -> "ColumnRepair":
        """Takes all columns and caps nothing."""
        zeros = np.zeros(num_features, dtype=np.float32)
        return cls(np.arange(num_features), zeros, zeros - np.inf, zeros + np.inf)

    def fits(self, num_features: int) -> bool:
        """Whether the parts agree and the columns are ascending ones of ``num_features``."""
        columns = self.columns
        return (
            columns.ndim == 1
            and all(v.shape == columns.shape for v in (self.medians, self.lower, self.upper))
            and bool((np.diff(columns) > 0).all())
            and (columns.size == 0 or (int(columns[0]) >= 0 and int(columns[-1]) < num_features))
        )

    def apply(self, block: NDArray[Any]) -> NDArray[np.float32]:
        """Rows [n, D] -> float32 [n, k], C-contiguous, finite, within the caps; always a copy."""
        taken = self.take(block)
        return self.capped(self.filled(taken))

    def take(self, block: NDArray[Any]) -> NDArray[np.float32]:
        """The columns as they are, float32 [n, k], a copy."""
        return as_float32(np.take(block, self.columns, axis=1), "the feature matrix")

    def filled(self, taken: NDArray[np.float32]) -> NDArray[np.float32]:
        """``taken`` with every NaN and infinity replaced, in place."""
        np.copyto(taken, self.medians, where=~np.isfinite(taken))
        return taken

    def capped(self, filled: NDArray[np.float32]) -> NDArray[np.float32]:
        """``filled`` with every value moved to the nearest cap, in place."""
        return np.clip(filled, self.lower, self.upper, out=filled)

    def select(self, positions: ArrayLike) -> "ColumnRepair":
        """The repair of some of these columns, by position."""
        index = np.asarray(positions, dtype=np.int64)
        return replace(
            self,
            columns=self.columns[index],
            medians=self.medians[index],
            lower=self.lower[index],
            upper=self.upper[index],
        )


def outlier_caps(
    rows: NDArray[Any],
    method: str,
    *,
    percentile_range: tuple[float, float],
    iqr_multiplier: float,
    mad_threshold: float,
) -> tuple[Floats, Floats]:
    """Lower and upper cap of each column, from the finite values of a sample [n, D].

    - ``percentile``: the two percentiles of ``percentile_range``.
    - ``iqr``: first quartile - m IQR and third quartile + m IQR (Tukey's fences).
    - ``mad``: median -+ t x 1.4826 MAD.
    - ``none``: -inf and inf.

    Where more than half of a column's values are equal, IQR or MAD can be 0 and its caps would
    make the column constant. The spread is then the MAD of the values that differ from the
    median, and the caps are median -+ m x 2 MAD (``iqr``), median -+ t x 1.4826 MAD (``mad``).

    Returns:
        two float64 [D]; -inf and inf for columns without a finite value.

    >>> rows = np.array([[0.0], [0.0], [0.0], [1.0], [2.0], [90.0]])
    >>> options = dict(percentile_range=(0.0, 50.0), iqr_multiplier=3.0, mad_threshold=5.0)
    >>> outlier_caps(rows, "percentile", **options)
    (array([0.]), array([0.5]))
    """
    unlimited = np.full(rows.shape[1], np.inf)
    if method == "none":
        return -unlimited, unlimited
    if method == "percentile":
        low, high = percentile_range
        lower, upper = column_quantiles(rows, [low / 100.0, high / 100.0])
    elif method == "iqr":
        lower, upper = column_quantiles(rows, [0.25, 0.75])
        spread = upper - lower
        lower, upper = lower - iqr_multiplier * spread, upper + iqr_multiplier * spread
        lower, upper = _judged_off_median(rows, spread, 2.0 * iqr_multiplier, lower, upper)
    else:
        medians = column_medians(rows)
        spread = column_mads(rows, medians)
        reach = mad_threshold * NORMAL_MAD
        lower, upper = medians - reach * spread, medians + reach * spread
        lower, upper = _judged_off_median(rows, spread, reach, lower, upper)
    empty = np.isnan(lower)
    return np.where(empty, -unlimited, lower), np.where(empty, unlimited, upper)


def _judged_off_median(
    rows: NDArray[Any], spread: Floats, reach: float, lower: Floats, upper: Floats
) -> tuple[Floats, Floats]:
    flat = np.flatnonzero(spread == 0.0)
    if flat.size:
        medians = column_medians(rows[:, flat])
        distances = column_mads(rows[:, flat], medians, off_median_only=True)
        # A column that is constant in the sample differs from its median nowhere.
        distances = np.where(np.isnan(distances), np.inf, reach * distances)
        lower, upper = lower.copy(), upper.copy()
        lower[flat], upper[flat] = medians - distances, medians + distances
    return lower, upper
