"""What the pipeline reports, as lines, and as a bar while it goes over rows."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from spinlock.cli.row_progress import RowProgress

if TYPE_CHECKING:
    from spinlock.cli.terminal import Terminal
    from spinlock.training.callbacks import Event


class Announcer:
    """An event handler for a terminal; use as a context, so that a bar ends with it.

    A bar lives from the first ``progress`` event of a task to the last one, so that no two bars
    are ever live at once.
    """

    def __init__(self, terminal: Terminal, *, interval_seconds: float = 10.0) -> None:
        self._terminal = terminal
        self._interval = interval_seconds
        self._bar: RowProgress | None = None

    def __enter__(self) -> Announcer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_bar(kind, error, trace)

    def event(self, event: Event) -> None:
        """Says the event, or moves the bar."""
        if event.kind != "progress":
            self._terminal.event(event)
            return
        done, total = event.details["done"], event.details["total"]
        if self._bar is None:
            self._bar = RowProgress(self._terminal, interval_seconds=self._interval)
            self._bar.__enter__()
        self._bar.update(event.message, done, total)
        if done == total:
            self._end_bar(None, None, None)

    def _end_bar(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)
            self._bar = None
