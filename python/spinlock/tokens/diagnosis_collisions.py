"""How many rows share their tokens with another row, in one pass and bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from spinlock.analysis.statistics.row_hash import splitmix64
from spinlock.errors import DataError

Hashes = NDArray[np.uint64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Collisions:
    """Rows whose tokens another row has too.

    Attributes:
        rate: share of the rows whose token tuple at least one other row has.
        distinct: number of different token tuples.
        exact: both figures are counted, not estimated.
        standard_error: of ``rate``; 0 where exact.
    """

    rate: float
    distinct: int
    exact: bool
    standard_error: float

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return dict(vars(self))


def token_hashes(tokens: NDArray[Any], start: Hashes | None = None) -> Hashes:
    """A 64-bit hash per row of ``tokens [n, q]``; equal rows are equal, others all but surely not.

    Args:
        tokens: indices >= 0.
        start: hashes of tokens to the left of these, to go on from.

    >>> a, b, c = token_hashes(np.array([[1, 2], [2, 1], [1, 2]])).tolist()
    >>> a == c, a == b
    (True, False)
    """
    hashes = np.zeros(len(tokens), dtype=np.uint64) if start is None else start
    for column in tokens.T:
        # One to one for one state: tuples that differ in a single token never tie.
        mixed = hashes ^ np.ascontiguousarray(column).astype(np.uint64)
        hashes = splitmix64(mixed.view(np.int64), start=1)
    return hashes


class CollisionCounter:
    """Mergeable count of rows that share a token tuple.

    Keeps the ``capacity`` smallest hashes with the number of rows that have them.  A hash among
    the smallest at the end was so from its first row on, so its count is exact.  Up to
    ``capacity`` different tuples all are kept and the figures are exact; above, those kept are a
    uniform sample of the different tuples (bottom-k, Cohen and Kaplan 2007), the rows that are
    alone are estimated from it, and the rate has a standard error of at most 1/sqrt(capacity).
    Any blocks and any merge tree give the same figures.  Memory: 32 bytes x ``capacity``.

    >>> left = CollisionCounter().update(token_hashes(np.array([[1, 2], [3, 4]])))
    >>> right = CollisionCounter().update(token_hashes(np.array([[1, 2]])))
    >>> left.merge(right).finalise()
    Collisions(rate=0.6666666666666666, distinct=2, exact=True, standard_error=0.0)
    """

    def __init__(self, capacity: int = 1 << 18) -> None:
        if capacity < 2:
            raise DataError(f"a collision counter keeps at least 2 hashes, got {capacity}")
        self.capacity = capacity
        self.num_rows = 0
        self._hashes = np.zeros(0, dtype=np.uint64)
        self._counts = np.zeros(0, dtype=np.int64)
        self._pending: list[tuple[Hashes, Counts]] = []
        self._waiting = 0
        # Hashes above it were dropped or never kept.
        self._limit: np.uint64 | None = None

    def update(self, hashes: Hashes) -> Self:
        """Add rows by their hashes ``[n]``."""
        self.num_rows += len(hashes)
        self._offer(*np.unique(hashes, return_counts=True))
        return self

    def merge(self, other: CollisionCounter) -> Self:
        """Add all rows of ``other``, which stays as it is.

        Raises:
            DataError: another capacity.
        """
        if self.capacity != other.capacity:
            raise DataError(
                f"collision counters of capacities {self.capacity} and {other.capacity} cannot "
                "be merged"
            )
        self.num_rows += other.num_rows
        if other._limit is not None:
            self._lower(other._limit)
        for hashes, counts in [(other._hashes, other._counts), *other._pending]:
            self._offer(hashes, counts)
        return self

    def finalise(self) -> Collisions:
        """The figures of all rows so far.

        Raises:
            DataError: no row was seen.
        """
        if self.num_rows == 0:
            raise DataError("token collisions of 0 rows are undefined; give at least one row")
        self._compact()
        if self._limit is None:
            rate = int(self._counts[self._counts > 1].sum()) / self.num_rows
            return Collisions(rate, len(self._hashes), exact=True, standard_error=0.0)
        # Below the largest hash kept lies that share of all different tuples.
        share = float(self._limit) / 2.0**64
        alone = int((self._counts[:-1] == 1).sum())
        rate = min(1.0, max(0.0, 1.0 - alone / share / self.num_rows))
        error = math.sqrt(max(alone, 1) * (1.0 - share)) / share / self.num_rows
        return Collisions(rate, round((len(self._hashes) - 1) / share), False, error)

    def _offer(self, hashes: Hashes, counts: Counts) -> None:
        if self._limit is not None:
            kept = hashes <= self._limit
            hashes, counts = hashes[kept], counts[kept]
        self._pending.append((hashes, counts))
        self._waiting += len(hashes)
        if self._waiting > self.capacity:
            self._compact()

    def _compact(self) -> None:
        if not self._pending:
            return
        hashes = np.concatenate([self._hashes, *(part[0] for part in self._pending)])
        counts = np.concatenate([self._counts, *(part[1] for part in self._pending)])
        self._hashes, where = np.unique(hashes, return_inverse=True)
        # Not bincount with weights, which counts in floating point.
        self._counts = np.zeros(len(self._hashes), dtype=np.int64)
        np.add.at(self._counts, where, counts)
        self._pending, self._waiting = [], 0
        if self._limit is not None:
            self._cut(int(np.searchsorted(self._hashes, self._limit, side="right")))
        if len(self._hashes) > self.capacity:
            self._limit = self._hashes[self.capacity - 1]
            self._cut(self.capacity)

    def _lower(self, limit: np.uint64) -> None:
        self._limit = limit if self._limit is None else min(self._limit, limit)

    def _cut(self, size: int) -> None:
        self._hashes, self._counts = self._hashes[:size], self._counts[:size]
