"""Progress of work that goes row by row: a live bar in a terminal, sparse lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

if TYPE_CHECKING:
    from spinlock.cli.terminal import Terminal

_INTERVAL_SECONDS = 10.0
_REFRESH_SECONDS = 0.1


class RowProgress:
    """Says how far a task is; use as a context, so that the bar ends with it.

    One task runs at a time; the first :meth:`update` with another name begins the next.  In a pipe
    a task that takes less than ``interval_seconds`` says nothing.

    Args:
        terminal: where to say it; a quiet one hears nothing.
        interval_seconds: time between two lines where there is no bar.
        clock: seconds from any start.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        interval_seconds: float = _INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view: _Bar | _Lines | None = None
        if terminal.verbosity != "quiet":
            live = terminal.err.is_terminal
            self._view = (
                _Bar(terminal, clock) if live else _Lines(terminal, clock, interval_seconds)
            )

    def __enter__(self) -> RowProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._view is not None:
            self._view.stop()

    def update(self, task: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` rows of ``task``, a word such as ``encoding``; None: not known."""
        if self._view is not None:
            self._view.update(task, done, total)


def amount(done: int, total: int | None) -> str:
    """How much is done, in words.

    >>> amount(1500, 3000), amount(1500, None), amount(0, 0)
    ('1,500 of 3,000 rows (50%)', '1,500 rows', '0 of 0 rows')
    """
    if total is None:
        return f"{done:,} {'row' if done == 1 else 'rows'}"
    share = f" ({100 * done // total}%)" if total else ""
    return f"{done:,} of {total:,} {'row' if total == 1 else 'rows'}{share}"


class _Bar:
    def __init__(self, terminal: Terminal, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._task: TaskID | None = None
        self._name = ""
        self._moved = 0.0
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn(
                "{task.fields[amount]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=terminal.err,
            redirect_stdout=False,
            transient=True,
        )

    def update(self, task: str, done: int, total: int | None) -> None:
        now = self._clock()
        if self._task is None or task != self._name:
            self._begin(task, total)
        elif now - self._moved < _REFRESH_SECONDS and done != total:
            return
        self._moved = now
        assert self._task is not None
        self._bar.update(
            self._task, completed=done, total=total, amount=amount(done, total), refresh=True
        )

    def stop(self) -> None:
        self._bar.stop()

    def _begin(self, task: str, total: int | None) -> None:
        if self._task is None:
            self._bar.start()
        else:
            self._bar.remove_task(self._task)
        self._name = task
        self._task = self._bar.add_task(task, total=total, amount="")


class _Lines:
    def __init__(self, terminal: Terminal, clock: Callable[[], float], interval: float) -> None:
        self._terminal = terminal
        self._clock = clock
        self._interval = interval
        self._name: str | None = None
        self._began = self._wrote = 0.0
        self._first = 0

    def update(self, task: str, done: int, total: int | None) -> None:
        now = self._clock()
        if task != self._name:
            self._name, self._began, self._wrote, self._first = task, now, now, done
        elif now - self._wrote >= self._interval:
            self._wrote = now
            self._terminal.remark(f"{task}: {amount(done, total)}{self._left(now, done, total)}")

    def stop(self) -> None:
        """Lines need no end."""

    def _left(self, now: float, done: int, total: int | None) -> str:
        if total is None or not self._first < done < total:
            return ""
        seconds = (now - self._began) / (done - self._first) * (total - done)
        return f"  {timedelta(seconds=round(seconds))} left"
