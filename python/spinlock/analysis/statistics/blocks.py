"""What every statistic shares: the shape of a block, and pieces small enough to work on."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.errors import DataError

Block = NDArray[np.float32] | NDArray[np.float64]

# Squares of larger numbers, summed over 1e20 rows, would leave the range of float64.
LARGEST = 1e140
_PIECE_BYTES = 1 << 25


class RowStatistic(Protocol):
    """A mergeable statistic whose update wants to know where its block begins."""

    def update(self, block: ArrayLike, first_row: int) -> Self:
        """Add the rows ``first_row .. first_row + n - 1``."""
        ...


def as_block(values: ArrayLike, num_features: int | None) -> Block:
    """``values`` as float32 or float64 [n, D]; integers and bools become float64.

    Raises:
        DataError: not a matrix of real numbers, or not ``num_features`` columns wide.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"a block of rows has dtype {array.dtype}; expected numbers. Encode text and "
            "categories as numbers first."
        )
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(
            f"a block of rows has shape {list(array.shape)}; expected [rows, columns] with at "
            "least one column."
        )
    if num_features is not None and array.shape[1] != num_features:
        raise DataError(
            f"a block has {array.shape[1]} columns, the blocks before it had {num_features}; all "
            "blocks of a data set need the same columns."
        )
    if array.dtype in (np.float16, np.float32):
        return array.astype(np.float32, copy=False)
    return array.astype(np.float64, copy=False)


def pieces(block: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """The rows of a block as float64 pieces of at most 32 MiB; the cuts depend on D alone."""
    rows = max(1, _PIECE_BYTES // (8 * block.shape[1]))
    for start in range(0, block.shape[0], rows):
        yield block[start : start + rows].astype(np.float64)


def row_blocks(features: NDArray[Any], rows: int) -> Iterator[NDArray[Any]]:
    """Views of at most ``rows`` consecutive rows, covering the matrix in order.

    >>> [len(block) for block in row_blocks(np.zeros((5, 2)), rows=2)]
    [2, 2, 1]
    """
    for start in range(0, features.shape[0], rows):
        yield features[start : start + rows]


S = TypeVar("S", bound=RowStatistic)


def accumulate(statistic: S, blocks: Iterable[ArrayLike]) -> S:
    """Feed consecutive blocks to a statistic, numbering rows from 0; returns the statistic."""
    first_row = 0
    for block in blocks:
        array = np.asarray(block)
        statistic.update(array, first_row)
        first_row += len(array)
    return statistic


def require_mergeable(own: int | None, other: int | None) -> None:
    """Raise a DataError when two statistics of different widths are merged."""
    if own is not None and other is not None and own != other:
        raise DataError(
            f"statistics of {own} and of {other} columns cannot be merged; both must come from "
            "the same data set."
        )


def require_rows(num_rows: int, what: str) -> None:
    """Raise a DataError when nothing was seen."""
    if num_rows == 0:
        raise DataError(f"{what} of 0 rows are undefined; give at least one row.")
