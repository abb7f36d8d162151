"""A comparison's progress: a live table in a terminal, a line per run elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from spinlock.cli.progress import status
from spinlock.cli.terminal import WARNINGS, Terminal
from spinlock.comparison.runner import Listener
from spinlock.comparison.table import error_table
from spinlock.training.callbacks import EpochRecord, Event, RunInfo

if TYPE_CHECKING:
    from spinlock.comparison.record import ComparisonRecord
    from spinlock.comparison.rows import Row


class ComparisonProgress(Listener):
    """Says how far a comparison is; use as a context, so that the live table ends with it.

    Args:
        terminal: where to say it; a quiet one hears warnings alone.
        on_saved: is called with the record's path once there is a row in it.
    """

    def __init__(self, terminal: Terminal, *, on_saved: Callable[[Path], None]) -> None:
        self._terminal = terminal
        self._on_saved = on_saved
        self._record: ComparisonRecord | None = None
        self._live: Live | None = None
        self._current = ""
        self._epochs = 0
        self._told: set[str] = set()

    def __enter__(self) -> ComparisonProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def on_event(self, event: Event) -> None:
        """Warnings, each once: every run repeats them."""
        if event.kind in WARNINGS and event.message not in self._told:
            self._told.add(event.message)
            self._terminal.event(event)

    def on_start(self, record: ComparisonRecord) -> None:
        """What is there already, and the live table."""
        self._record = record
        done, total = self._done(), self._total()
        if done:
            self._on_saved(record.path)
            self._terminal.remark(f"{done} of {total} runs are there already, from {record.path}")
        if self._terminal.verbosity != "quiet" and self._terminal.err.is_terminal and done < total:
            self._live = Live(
                self._view(""), console=self._terminal.err, transient=True, redirect_stdout=False
            )
            self._live.start()

    def on_contender(self, name: str, split: tuple[int, int | None]) -> None:
        """The line below the table."""
        seed, fold = split
        self._current = f"{name}, seed {seed}" + ("" if fold is None else f", fold {fold}")
        self._show("")

    def on_train_begin(self, run: RunInfo) -> None:
        """How many epochs there will be."""
        self._epochs = run.num_epochs

    def on_epoch_end(self, record: EpochRecord) -> None:
        """How the run is doing."""
        self._show(f"epoch {record.epoch}/{self._epochs}  {status(record)}")

    def on_row(self, record: ComparisonRecord, row: Row) -> None:
        """A new row in the table, or a line."""
        self._on_saved(record.path)
        if self._live is not None:
            self._show("")
            return
        what = f"{self._done()}/{self._total()} {self._current}"
        if row.metrics is None:
            self._terminal.remark(f"{what}: {row.note}")
            return
        self._terminal.remark(
            f"{what}: worst {row.metrics.worst_mse:.4f}, mean {row.metrics.mean_mse:.4f}, "
            f"{row.metrics.bits:.1f} bits, {row.seconds:.1f} s"
        )

    def _show(self, doing: str) -> None:
        if self._live is not None:
            self._live.update(self._view(doing))

    def _view(self, doing: str) -> Group:
        assert self._record is not None
        line = f"{self._done()}/{self._total()} runs  {self._current}  {doing}".rstrip()
        return Group(error_table(self._record), Text(line, no_wrap=True, overflow="ellipsis"))

    def _done(self) -> int:
        assert self._record is not None
        return len(self._record.wanted)

    def _total(self) -> int:
        assert self._record is not None
        settings = self._record.settings
        return len(settings.splits) * len(settings.names)
