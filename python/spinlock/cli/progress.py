"""Training's progress: a live bar in a terminal, a line every so often elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from spinlock.cli.announcer import Announcer
from spinlock.cli.plan import print_plan
from spinlock.cli.terminal import Terminal
from spinlock.training.callbacks import Callback, EpochRecord, Event, RunInfo

if TYPE_CHECKING:
    from spinlock.training.prepared import Prepared

_REFRESH_SECONDS = 0.1
# In a narrower terminal the figures take the bar's place.
_BAR_NEEDS = 100


class TrainingProgress(Callback):
    """Says what a run does; use as a context, so that the bar ends with it.

    Args:
        terminal: where to say it.
        interval_seconds: time between two lines where there is no bar.
        on_saved: is called with each checkpoint.
        show_plan: print the plan as a part of the result.
        clock: seconds from any start.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        interval_seconds: float,
        on_saved: Callable[[Path], None],
        show_plan: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminal = terminal
        self._announcer = Announcer(terminal, interval_seconds=interval_seconds)
        self._interval = interval_seconds
        self._on_saved = on_saved
        self._show_plan = show_plan
        self._clock = clock
        self._view: _Bar | _Lines | None = None
        self._status = ""

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._announcer.__exit__(kind, error, trace)
        if self._view is not None:
            self._view.stop()

    def on_event(self, event: Event) -> None:
        """Said as the verbosity asks."""
        self._announcer.event(event)

    def on_prepared(self, prepared: Prepared) -> None:
        """The published text and the plan."""
        if self._show_plan and self._terminal.verbosity != "quiet":
            print_plan(prepared.plan, self._terminal)

    def on_train_begin(self, run: RunInfo) -> None:
        """Starts where the run stands, after a resume as well."""
        if self._terminal.verbosity == "quiet":
            return
        if self._terminal.err.is_terminal:
            self._view = _Bar(run, self._terminal, self._clock)
        else:
            self._view = _Lines(run, self._terminal, self._clock, self._interval)

    def on_step_end(self, epoch: int, step: int) -> None:
        """Moves the bar, or writes a line in the middle of a long epoch."""
        if self._view is not None:
            self._view.step(epoch, step, self._status)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Brings loss, worst category and utilization up to date."""
        self._status = status(record, self._status)
        if self._view is not None:
            self._view.epoch(record.epoch, self._status)

    def on_checkpoint(self, path: Path) -> None:
        """Passed on."""
        self._on_saved(path)


class _Bar:
    """A live bar with the time left."""

    def __init__(self, run: RunInfo, terminal: Terminal, clock: Callable[[], float]) -> None:
        self._run = run
        self._clock = clock
        self._moved = clock()
        bar = [BarColumn(bar_width=24)] if terminal.err.width >= _BAR_NEEDS else []
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}", table_column=Column(no_wrap=True)),
            *bar,
            TimeRemainingColumn(),
            # All the rest of the line, and no more than that.
            TextColumn(
                "{task.fields[status]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            console=terminal.err,
            redirect_stdout=False,
            expand=True,
        )
        self._task = self._bar.add_task(
            "",
            total=run.num_epochs * run.steps_per_epoch,
            completed=_steps_done(run, run.first_epoch, run.first_step - 1),
            epoch=f"{run.first_epoch}/{run.num_epochs}",
            status="",
        )
        self._bar.start()

    def step(self, epoch: int, step: int, status: str) -> None:
        now = self._clock()
        if now - self._moved >= _REFRESH_SECONDS:
            self._moved = now
            self._move(epoch, step, status)

    def epoch(self, epoch: int, status: str) -> None:
        self._move(epoch, self._run.steps_per_epoch, status)

    def stop(self) -> None:
        self._bar.stop()

    def _move(self, epoch: int, step: int, status: str) -> None:
        self._bar.update(
            self._task,
            completed=_steps_done(self._run, epoch, step),
            epoch=f"{epoch}/{self._run.num_epochs}",
            status=status,
        )


class _Lines:
    """A line for the first and the last epoch, and one every so often between them."""

    def __init__(
        self, run: RunInfo, terminal: Terminal, clock: Callable[[], float], interval: float
    ) -> None:
        self._run = run
        self._terminal = terminal
        self._clock = clock
        self._interval = interval
        self._began = self._wrote = clock()
        self._start = _steps_done(run, run.first_epoch, run.first_step - 1)

    def step(self, epoch: int, step: int, status: str) -> None:
        if step < self._run.steps_per_epoch and self._due():
            self._write(epoch, step, status)

    def epoch(self, epoch: int, status: str) -> None:
        if self._due() or epoch in (self._run.first_epoch, self._run.num_epochs):
            self._write(epoch, self._run.steps_per_epoch, status)

    def stop(self) -> None:
        """Lines need no end."""

    def _due(self) -> bool:
        return self._clock() - self._wrote >= self._interval

    def _write(self, epoch: int, step: int, status: str) -> None:
        run, now = self._run, self._clock()
        self._wrote = now
        done = _steps_done(run, epoch, step)
        left = run.num_epochs * run.steps_per_epoch - done
        seconds = (now - self._began) / max(1, done - self._start) * left
        within = "" if step == run.steps_per_epoch else f" step {step}/{run.steps_per_epoch}"
        parts = [f"epoch {epoch}/{run.num_epochs}{within}", status]
        parts += [f"{timedelta(seconds=round(seconds))} left"] if left else []
        self._terminal.remark("  ".join(part for part in parts if part))


def _steps_done(run: RunInfo, epoch: int, step: int) -> int:
    """Steps of the whole run that are done after ``step`` of ``epoch``, both from 1."""
    return (epoch - 1) * run.steps_per_epoch + step


def status(record: EpochRecord, previous: str = "") -> str:
    """Loss, worst category and utilization in one line.

    An epoch that was not measured keeps the worst category of ``previous``.
    """
    parts = [f"loss {record.losses['total']:.4f}"]
    if record.validation is not None:
        metrics = record.validation
        parts.append(f"worst {metrics.worst_category} {metrics.worst_mse:.4f}")
    else:
        parts += [part for part in previous.split("  ") if part.startswith("worst ")]
    parts.append(f"utilization {record.utilization:.2f}")
    return "  ".join(parts)
