"""Work that a test gives to Ray workers, and what goes wrong there."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinlock.engine import Engine, Part, Tell, silent


@dataclass(frozen=True)
class KilledOnce:
    """An engine whose worker dies by SIGKILL on its first try at the second part.

    Attributes:
        inner: the engine that goes on.
        folder: where the dead leave their marks.
    """

    inner: Engine
    folder: Path
    name: str = "ray"

    def map(
        self, work: Callable[[Any, Tell], Any], parts: Sequence[Part], tell: Tell = silent
    ) -> Iterator[Any]:
        """As the inner engine."""
        marked = _Dies(work, self.folder, f"{self.deaths()}")
        return self.inner.map(marked, [Numbered(part, i) for i, part in enumerate(parts)], tell)

    def deaths(self) -> int:
        """How many workers died."""
        return len(list(self.folder.iterdir()))


@dataclass(frozen=True)
class Numbered:
    """A part and its place."""

    part: Part
    number: int

    @property
    def num_rows(self) -> int:
        """The part's."""
        return self.part.num_rows


@dataclass(frozen=True)
class _Dies:
    work: Callable[[Any, Tell], Any]
    folder: Path
    run: str

    def __call__(self, part: Numbered, tell: Tell) -> Any:
        mark = self.folder / f"{self.run}-{part.number}"
        if part.number == 1 and not mark.exists():
            self.work(part.part, tell)  # what it did is done again
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.work(part.part, tell)


def process_of(part: Part, tell: Tell) -> tuple[int, int, int]:
    """The part's rows, the process that reads them, and its peak memory in KiB."""
    del tell
    return part.num_rows, os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fails(part: Part, tell: Tell) -> None:
    """Raises what nobody foresaw."""
    del tell
    raise KeyError(f"part of {part.num_rows} rows")
