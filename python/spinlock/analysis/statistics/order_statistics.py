"""Quantiles, medians, median absolute deviations and distinct values of a sample's columns.

All ignore NaN and infinities column by column, work on a few columns at a time, and are exact for
the rows they are given; what a sampled data set adds is ``RowSample.rank_error``.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.errors import DataError

_CHUNK_BYTES = 1 << 25


def column_quantiles(rows: NDArray[Any], levels: Sequence[float]) -> NDArray[np.float64]:
    """Quantiles of the finite values of each column, interpolated linearly between neighbours.

    Args:
        rows: [n, D].
        levels: probabilities within [0, 1].

    Returns:
        float64 [len(levels), D]; NaN for columns without a finite value.

    >>> nan = float("nan")
    >>> column_quantiles(np.array([[1.0, nan], [2.0, nan], [nan, nan], [4.0, nan]]), [0.5, 0.75])
    array([[ 2., nan],
           [ 3., nan]])
    """
    if not all(0.0 <= level <= 1.0 for level in levels):
        raise DataError(f"quantile levels lie within [0, 1], got {list(levels)}.")
    result = np.full((len(levels), rows.shape[1]), np.nan)
    for columns, values, counts in _sorted_columns(rows):
        result[:, columns] = [_interpolated(values, counts, level) for level in levels]
    return result


def column_medians(rows: NDArray[Any]) -> NDArray[np.float64]:
    """The median of the finite values of each column of [n, D], float64 [D].

    >>> column_medians(np.array([[3.0], [1.0], [8.0], [float("inf")]]))
    array([3.])
    """
    medians: NDArray[np.float64] = column_quantiles(rows, [0.5])[0]
    return medians


def column_mads(
    rows: NDArray[Any], medians: NDArray[np.float64], *, off_median_only: bool = False
) -> NDArray[np.float64]:
    """The median of |x - median| over the finite values of each column, float64 [D].

    With ``off_median_only``, over the values that differ from the median: the spread of what
    varies in a column where more than half of the values are equal.

    >>> rows = np.array([[0.0], [0.0], [0.0], [5.0], [7.0]])
    >>> column_mads(rows, np.array([0.0])), column_mads(rows, np.array([0.0]), off_median_only=True)
    (array([0.]), array([6.]))
    """
    result = np.full(rows.shape[1], np.nan)
    for columns in _column_chunks(rows):
        distances = np.abs(rows[:, columns].astype(np.float64) - medians[columns])
        if off_median_only:
            distances[distances == 0.0] = np.nan
        result[columns] = column_medians(distances)
    return result


def column_distinct(rows: NDArray[Any]) -> NDArray[np.int64]:
    """The number of distinct finite values in each column of [n, D], int64 [D].

    >>> column_distinct(np.array([[1.0, 0.5], [1.0, float("nan")], [2.0, 0.25]])).tolist()
    [2, 2]
    """
    result = np.zeros(rows.shape[1], dtype=np.int64)
    for columns, values, counts in _sorted_columns(rows):
        # NaN compares greater than nothing, so the steps into the unused tail do not count.
        steps = (values[:, 1:] > values[:, :-1]).sum(axis=1)
        result[columns] = steps + (counts > 0)
    return result


def _column_chunks(rows: NDArray[Any]) -> Iterator[slice]:
    width = max(1, _CHUNK_BYTES // (8 * max(1, rows.shape[0])))
    for start in range(0, rows.shape[1], width):
        yield slice(start, min(start + width, rows.shape[1]))


def _sorted_columns(
    rows: NDArray[Any],
) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.int64]]]:
    """Column slices with their values sorted [d, n], non-finite ones as NaN at the end; counts."""
    for columns in _column_chunks(rows):
        values = np.array(rows[:, columns].T, order="C")
        finite = np.isfinite(values)
        values[~finite] = np.nan
        values.sort(axis=1)
        yield columns, values, finite.sum(axis=1)


def _interpolated(
    values: NDArray[Any], counts: NDArray[np.int64], level: float
) -> NDArray[np.float64]:
    positions = level * np.maximum(counts - 1, 0)
    below = np.floor(positions).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(counts - 1, 0))
    rows = np.arange(len(values))
    low = values[rows, below].astype(np.float64)
    high = values[rows, above].astype(np.float64)
    quantiles: NDArray[np.float64] = low + (high - low) * (positions - below)
    return quantiles
