"""What an engine is, and the one that needs nothing: this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Tell = Callable[[int], None]
R = TypeVar("R")


class Part(Protocol):
    """A piece of a data set, small enough to be sent: it says where its rows are."""

    @property
    def num_rows(self) -> int:
        """The rows that it stands for."""
        ...


P = TypeVar("P", bound=Part)


class Engine(Protocol):
    """Does the same work on all parts of a data set.

    Attributes:
        name: as ``--engine`` calls it.
    """

    @property
    def name(self) -> str: ...

    def map(
        self, work: Callable[[P, Tell], R], parts: Sequence[P], tell: Tell = ...
    ) -> Iterator[R]:
        """``work(part, tell)`` of every part, in the order of the parts.

        Args:
            work: may run in another process, and more than once where a process is lost: what it
                does beside its result must be the same when it is done again.  It tells how many
                rows more are done.
            parts: as the data cut them, whatever the engine.
            tell: hears of rows done, at the latest with each part.

        Raises:
            SpinlockError: what ``work`` raised, or what went wrong with the engine.
        """
        ...


class InProcess:
    """An :class:`Engine` that works on one part after the other, here.

    >>> from spinlock.data.parts import array_parts
    >>> import numpy as np
    >>> parts = array_parts(np.ones((5, 1), np.float32), rows=2)
    >>> list(InProcess().map(lambda part, tell: part.num_rows, parts))
    [2, 2, 1]
    """

    name = "local"

    def map(
        self, work: Callable[[P, Tell], R], parts: Sequence[P], tell: Tell | None = None
    ) -> Iterator[R]:
        """``work`` of every part; rows are told as the work tells them."""
        for part in parts:
            yield work(part, tell or silent)


def silent(rows: int) -> None:
    """A listener that does not care."""
    del rows


IN_PROCESS = InProcess()
