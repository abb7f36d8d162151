"""Residual k-means on numpy rows, many codebooks at once, with the quantizer's own kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock._C import PackingPlan, quantize_rows

Rows = NDArray[np.float32]

# Rows and codes are stored in multiples of 16 bytes.
ALIGNMENT = 4


@dataclass
class CodebookStack:
    """Codebooks of one dim and different sizes, each with columns of its own.

    Attributes:
        sizes: codes K_q of each of the Q codebooks.
        dim: dims m of every codebook, a multiple of ``ALIGNMENT``.

    >>> stack = CodebookStack((1, 2), dim=4)
    >>> stack.set_codes(0, np.zeros((1, 4), np.float32))
    >>> stack.set_codes(1, np.array([[0, 0, 0, 0], [4, 0, 0, 0]], np.float32))
    >>> rows = np.array([[1, 0, 0, 0, 3, 0, 0, 0]], np.float32)
    >>> stack.quantized(rows).tolist(), stack.squared_errors(rows).tolist()
    ([[0.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0]], [1.0, 1.0])
    """

    sizes: tuple[int, ...]
    dim: int
    _plan: PackingPlan = field(init=False, repr=False)
    _weight: Rows = field(init=False, repr=False)
    _code_of: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._plan = PackingPlan(list(self.sizes), [self.dim] * len(self.sizes), ALIGNMENT)
        self._weight = np.zeros(self._plan.weight_size, np.float32)
        # The code that each stored number belongs to; one more for the gaps between codebooks.
        self._code_of = np.full(len(self._weight), self._plan.total_codes, np.int64)
        for at, first, size in zip(
            self._plan.weight_offsets, self._plan.code_offsets, self.sizes, strict=True
        ):
            codes = np.arange(first, first + size)
            self._code_of[at : at + size * self.dim] = np.repeat(codes, self.dim)

    def set_codes(self, index: int, codes: Rows) -> None:
        """Gives a codebook its codes [K_q, m]."""
        at = self._plan.weight_offsets[index]
        self._weight[at : at + codes.size] = codes.ravel()

    def quantized(self, rows: Rows) -> Rows:
        """The nearest codes of rows [n, Q * m], as such rows."""
        found = np.empty(rows.shape, np.float32)
        quantize_rows(self._plan, _matrix(rows), _span(self._weight), quantized=_span(found))
        return found

    def squared_errors(self, rows: Rows) -> NDArray[np.float64]:
        """[Q]: squared distances of rows [n, Q * m] to their nearest codes, summed over rows."""
        found = np.empty(len(self.sizes), np.float64)
        quantize_rows(self._plan, _matrix(rows), _span(self._weight), squared_error=_span(found))
        return found

    def refine(self, rows: Rows, steps: int) -> None:
        """Lloyd steps on rows [n, Q * m]: codes become the means of their rows, if they have any.

        A step whose assignment equals the one before ends it early: all further ones would too.
        """
        counts = np.zeros(self._plan.total_codes + 1, np.int64)
        sums = np.empty_like(self._weight)
        for _ in range(steps):
            before = self._weight.copy()
            quantize_rows(
                self._plan,
                _matrix(rows),
                _span(self._weight),
                counts=_span(counts[:-1]),
                sums=_span(sums),
            )
            held = counts[self._code_of]
            np.divide(sums, held.astype(np.float32), out=self._weight, where=held > 0)
            if np.array_equal(before, self._weight):
                return


def spread_rows(
    rows: Rows, dim: int, counts: Sequence[int], generators: Sequence[np.random.Generator]
) -> list[NDArray[np.int64]]:
    """For each of P problems the numbers of rows that lie far apart, to start codes from.

    k-means++ in rounds (Bahmani et al. 2012, Scalable k-means++): every round draws as many rows as
    there are, without replacement, in proportion to their squared distance from the rows so far.
    The first k of them start k codes as well.

    Args:
        rows: [n, P * m], n >= 1; rows are repeated where a count is larger than n.
        dim: columns m of each problem.
        counts: how many rows to find for each problem, >= 1.
        generators: one per problem; consumed by one draw, and n draws per round.
    """
    wanted = [min(count, len(rows)) for count in counts]
    chosen = [np.array([rng.integers(len(rows))], np.int64) for rng in generators]
    distances = _squared_distances(rows, dim, chosen)
    active = list(range(len(counts)))
    while active := [p for p in active if len(chosen[p]) < wanted[p]]:
        new = [
            _far_rows(
                distances[:, p],
                chosen[p],
                min(len(chosen[p]), wanted[p] - len(chosen[p])),
                generators[p],
            )
            for p in active
        ]
        nearer = _squared_distances(columns_of(rows, dim, active), dim, new)
        distances[:, active] = np.minimum(distances[:, active], nearer)
        for p, found in zip(active, new, strict=True):
            chosen[p] = np.concatenate([chosen[p], found])
    return [np.resize(found, count) for found, count in zip(chosen, counts, strict=True)]


def columns_of(rows: Rows, dim: int, order: Sequence[int]) -> Rows:
    """Of rows [n, P * m], the blocks of m columns in ``order``, which may repeat blocks."""
    # Of fancy indexing and take, only take gives memory that needs no second copy.
    return np.take(rows.reshape(len(rows), -1, dim), order, axis=1).reshape(len(rows), -1)


def _far_rows(
    distances: NDArray[np.float64],
    taken: NDArray[np.int64],
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """``count`` rows drawn in proportion to ``distances``, none of them ``taken``."""
    # The smallest of exponential variables with these rates: Efraimidis and Spirakis 2006.
    waits = rng.exponential(size=len(distances)) / np.maximum(distances, 1e-300)
    waits[taken] = np.inf
    found = np.argpartition(waits, count - 1)[:count]
    return found[np.argsort(waits[found])]


def _squared_distances(
    rows: Rows, dim: int, chosen: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """[n, P]: from each row to the nearest of the chosen rows of each problem."""
    stack = CodebookStack(tuple(map(len, chosen)), dim)
    for index, numbers in enumerate(chosen):
        stack.set_codes(index, rows[numbers, index * dim : (index + 1) * dim])
    missed = (rows - stack.quantized(rows)).reshape(len(rows), -1, dim)
    found: NDArray[np.float64] = np.einsum("npm,npm->np", missed, missed, dtype=np.float64)
    return found


def _span(values: NDArray[Any]) -> tuple[int, int]:
    return values.ctypes.data, values.size


def _matrix(rows: Rows) -> tuple[int, int, int, int]:
    return rows.ctypes.data, rows.shape[0], rows.shape[1], rows.strides[0] // rows.itemsize
