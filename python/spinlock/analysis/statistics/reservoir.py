"""A uniform sample of rows that does not depend on how the data were cut into blocks."""

from dataclasses import dataclass
from math import log, sqrt
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.analysis.statistics.blocks import as_block, require_mergeable, require_rows
from spinlock.analysis.statistics.row_hash import splitmix64
from spinlock.errors import DataError

DEFAULT_CAPACITY = 100_000
_KEYS = 1 << 20


def row_keys(row_numbers: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """A 64-bit key per row: output ``row`` of splitmix64 (Steele, Lea and Flood 2014).

    The stream starts at the mixed seed, which is 0 for seed 0. For one seed the map is one to one,
    so keys never tie.

    >>> row_keys(np.array([0, 1]), seed=0).tolist()
    [16294208416658607535, 7960286522194355700]
    """
    start = int(splitmix64(np.zeros(1, dtype=np.int64), seed)[0])
    return splitmix64(row_numbers + 1, start)


def sample_ceiling(num_rows: int, capacity: int, seed: int) -> int | None:
    """The largest key in the sample of a data set of ``num_rows`` rows; None where all are in it.

    Keys depend on nothing but seed and row number: what is above can be left out unseen.  Takes
    about 10 s for 10^9 rows.

    >>> sample_ceiling(2, 2, seed=0), sample_ceiling(3, 2, seed=0)
    (None, 7960286522194355700)
    """
    if num_rows <= capacity:
        return None
    smallest = np.zeros(0, dtype=np.uint64)
    for start in range(0, num_rows, _KEYS):
        keys = row_keys(np.arange(start, min(start + _KEYS, num_rows), dtype=np.int64), seed)
        if len(smallest) == capacity:
            keys = keys[keys < smallest.max()]
        smallest = np.concatenate([smallest, keys])
        if len(smallest) > capacity:
            smallest = np.partition(smallest, capacity - 1)[:capacity]
    return int(smallest.max())


@dataclass(frozen=True, eq=False)
class RowSample:
    """A uniform sample without replacement of the rows of a data set, in row order.

    Attributes:
        rows: [k, D], float32 or float64 as the data were.
        row_numbers: int64 [k], ascending; the rows' numbers in the data set.
        num_rows: N, the rows of the data set.
    """

    rows: NDArray[Any]
    row_numbers: NDArray[np.int64]
    num_rows: int

    @property
    def exact(self) -> bool:
        """Whether the sample is the whole data set, and its quantiles therefore exact."""
        return len(self.rows) == self.num_rows

    def rank_error(self, failure: float = 1e-6) -> float:
        """Bound on |F_sample(x) - F(x)| for all x of one column, but for probability ``failure``.

        The Dvoretzky-Kiefer-Wolfowitz inequality with Massart's constant, sqrt(ln(2/p) / 2k): an
        estimated q-quantile lies between the true quantiles of q - error and q + error. At one
        fixed q its rank has a standard deviation of sqrt(q (1 - q) / k). 0 where ``exact``.

        >>> sample = RowSample(np.zeros((100_000, 1)), np.arange(100_000), num_rows=10**9)
        >>> round(sample.rank_error(), 4)
        0.0085
        """
        return 0.0 if self.exact else sqrt(log(2.0 / failure) / (2.0 * len(self.rows)))


class RowReservoir:
    """Keeps the ``capacity`` rows with the smallest keys, a key being a hash of (seed, row number).

    The sample is the same for any blocks, in any order, and any merge tree, and holds every row
    while there are at most ``capacity`` of them. Memory: ``capacity`` rows and one block.

    Args:
        capacity: rows that are kept.
        seed: of the sample.
        ceiling: rows with a larger key are not kept. With ``sample_ceiling`` of the whole data set
            the sample is the same, and the one of a part holds only what will be in that of all.

    >>> reservoir = RowReservoir(capacity=3, seed=0)
    >>> reservoir.update(np.arange(4, 8)[:, None], first_row=4).merge(
    ...     RowReservoir(capacity=3, seed=0).update(np.arange(4)[:, None], first_row=0)
    ... ).finalise().row_numbers.tolist()
    [2, 4, 6]
    """

    def __init__(
        self, capacity: int = DEFAULT_CAPACITY, seed: int = 0, ceiling: int | None = None
    ) -> None:
        if capacity < 1:
            raise DataError(f"a sample holds at least 1 row, got capacity={capacity}.")
        self.capacity = capacity
        self.seed = seed
        self.ceiling = ceiling
        self.num_rows = 0
        self._size = 0
        self._keys = np.zeros(0, dtype=np.uint64)
        self._numbers = np.zeros(0, dtype=np.int64)
        self._rows: NDArray[Any] = np.zeros((0, 0), dtype=np.float32)

    @property
    def num_features(self) -> int | None:
        """D, or None before the first block."""
        return self._rows.shape[1] or None

    def update(self, block: ArrayLike, first_row: int) -> Self:
        """Offer the rows of ``block`` [n, D], numbered ``first_row`` onwards in the data set.

        Raises:
            DataError: a block of other width or of text, or rows that the sample holds already.
        """
        rows = as_block(block, self.num_features)
        if first_row < 0:
            raise DataError(f"rows are numbered from 0, got first_row={first_row}.")
        numbers = np.arange(first_row, first_row + len(rows), dtype=np.int64)
        keys = row_keys(numbers, self.seed)
        if self.ceiling is None:
            self._offer(keys, numbers, rows)
        else:
            low = keys <= np.uint64(self.ceiling)
            self._offer(keys[low], numbers[low], rows[low])
        self.num_rows += len(rows)
        return self

    def merge(self, other: "RowReservoir") -> Self:
        """Offer everything that ``other`` kept; ``other`` stays as it is.

        Raises:
            DataError: another width, capacity or seed, or rows that both samples hold.
        """
        require_mergeable(self.num_features, other.num_features)
        own = (self.capacity, self.seed, self.ceiling)
        if own != (other.capacity, other.seed, other.ceiling):
            raise DataError(
                f"samples of capacity {self.capacity}, seed {self.seed} and of capacity "
                f"{other.capacity}, seed {other.seed} cannot be merged; use the same for both, and "
                "the same ceiling."
            )
        if other.num_features is not None:
            size = other._size
            self._offer(other._keys[:size], other._numbers[:size], other._rows[:size])
            self.num_rows += other.num_rows
        return self

    def finalise(self) -> RowSample:
        """The sample of all rows so far, in row order.

        Raises:
            DataError: no row was seen.
        """
        require_rows(self.num_rows, "samples")
        order = np.argsort(self._numbers[: self._size])
        return RowSample(self._rows[order], self._numbers[order], self.num_rows)

    def __getstate__(self) -> dict[str, Any]:
        # What is sent to be merged leaves the room to grow behind.
        held = {name: getattr(self, name)[: self._size] for name in ("_keys", "_numbers", "_rows")}
        return {**self.__dict__, **held}

    def _offer(
        self, keys: NDArray[np.uint64], numbers: NDArray[np.int64], rows: NDArray[Any]
    ) -> None:
        known = self._keys[: self._size]
        if self._size == self.capacity:
            # Most rows of a long data set are out at once; only the others are worth a look.
            near = keys <= known.max()
            keys, numbers, rows = keys[near], numbers[near], rows[near]
        if (repeated := _first_common(keys, known)) is not None:
            raise DataError(
                f"row {int(numbers[keys == repeated][0])} was offered twice; blocks and merged "
                "samples must cover different rows of the data set."
            )
        if self._size + len(keys) > self.capacity:
            both = np.concatenate([known, keys])
            largest = np.partition(both, self.capacity - 1)[self.capacity - 1]
            free = np.flatnonzero(known > largest)
            chosen = keys <= largest
            keys, numbers, rows = keys[chosen], numbers[chosen], rows[chosen]
        else:
            free = np.zeros(0, dtype=np.intp)
        end = self._size + len(keys) - len(free)
        self._reserve(end, rows)
        slots = np.concatenate([free, np.arange(self._size, end)])
        self._keys[slots], self._numbers[slots], self._rows[slots] = keys, numbers, rows
        self._size = end

    def _reserve(self, size: int, rows: NDArray[Any]) -> None:
        """Room for ``size`` rows, at least doubled when it grows, in a dtype that holds both."""
        dtype = np.promote_types(self._rows.dtype, rows.dtype)
        held = len(self._rows)
        if size <= held and dtype == self._rows.dtype and self.num_features is not None:
            return
        room = held if size <= held else min(self.capacity, max(size, 2 * held))
        grown = np.empty((room, rows.shape[1]), dtype=dtype)
        if self._size:
            grown[: self._size] = self._rows[: self._size]
        self._rows = grown
        self._keys = np.resize(self._keys, room)
        self._numbers = np.resize(self._numbers, room)


def _first_common(keys: NDArray[np.uint64], known: NDArray[np.uint64]) -> np.uint64 | None:
    """The first of ``known`` that is among ``keys``, of which there are usually few."""
    if len(keys) == 0 or len(known) == 0:
        return None
    ordered = np.sort(keys)
    places = np.minimum(np.searchsorted(ordered, known), len(ordered) - 1)
    common = known[ordered[places] == known]
    return common[0] if len(common) else None
