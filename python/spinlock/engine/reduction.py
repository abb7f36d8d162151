"""A statistic of a whole data set: one state per part, merged in the order of the parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from spinlock.engine.engine import Engine, Part, Tell, silent

Block = NDArray[np.float32]


class Mergeable(Protocol):
    """A statistic that blocks of rows are added to, and others of its kind are merged into."""

    def update(self, block: Any, first_row: int) -> Self:
        """Add the rows ``first_row`` onwards of the data set."""
        ...

    def merge(self, other: Self) -> Self:
        """Add all that ``other`` has seen."""
        ...


class RowsOfPart(Part, Protocol):
    """A part whose rows can be read."""

    @property
    def first_row(self) -> int:
        """The number of its first row in the data set."""
        ...

    def blocks(self) -> Iterator[Block]:
        """Its rows in order."""
        ...


S = TypeVar("S", bound=Mergeable)


def map_reduce(
    engine: Engine,
    parts: Sequence[RowsOfPart],
    make_state: Callable[[], S],
    change: Callable[[Block], Any] | None = None,
    tell: Tell = silent,
) -> S:
    """A statistic of all parts.

    Every part is added to a state of its own, block by block; the states are merged one after the
    other, in the order of the parts.  Rounding therefore depends on the cuts, which depend on the
    data, and neither on the engine nor on who was lost and worked again.

    Args:
        engine: where parts are worked on.
        parts: of the data set, in its order.
        make_state: an empty statistic.
        change: what is done to each block before it is added.
        tell: hears of rows done.

    >>> from spinlock.analysis.statistics import RowReservoir
    >>> from spinlock.data.parts import array_parts
    >>> from spinlock.engine import IN_PROCESS
    >>> parts = array_parts(np.arange(5, dtype=np.float32)[:, None], rows=2)
    >>> map_reduce(IN_PROCESS, parts, RowReservoir).finalise().row_numbers.tolist()
    [0, 1, 2, 3, 4]
    """
    total = make_state()
    for state in engine.map(_Accumulate(make_state, change), parts, tell):
        total.merge(state)
    return total


@dataclass(frozen=True)
class _Accumulate(Generic[S]):
    make_state: Callable[[], S]
    change: Callable[[Block], Any] | None

    def __call__(self, part: RowsOfPart, tell: Tell) -> S:
        state, row = self.make_state(), part.first_row
        for block in part.blocks():
            state.update(block if self.change is None else self.change(block), row)
            row += len(block)
            tell(len(block))
        return state
