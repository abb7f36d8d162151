"""Where output goes: results to stdout, everything else to stderr; colours only in a terminal."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from spinlock.cli.streams import ClosedStream, Outlet, OutputLost

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from spinlock.training.callbacks import Event

# A table that nobody's window limits; no narrower table is stretched to it.
_PIPE_WIDTH = 200

# What a quiet run says as well: the run does something else than its configuration suggests.
WARNINGS = frozenset(
    {
        "batch_size_capped",
        "data_changed",
        "gaussian_allocation",
        "known_rows",
        "no_lock",
        "previous_run_moved",
        "ratios_reused",
        "tensorboard_failed",
        "validation_on_training",
    }
)
_LISTED_COLUMNS = 10


@dataclass(frozen=True)
class Terminal:
    """The two streams of a command and how much to say.

    A stream that cannot be written to is given up: the command goes on, and :meth:`finish` tells
    whether its result got out.

    Attributes:
        out: stdout, for results.
        err: stderr, for progress and remarks.
        verbosity: quiet, normal or verbose.
    """

    out: Console
    err: Console
    verbosity: str = "normal"

    @classmethod
    def open(cls, verbosity: str) -> Terminal:
        """The process's own streams."""
        return cls(_console(sys.stdout), _console(sys.stderr), verbosity)

    def result(self, content: str | Table) -> None:
        """Prints a part of the result; text is printed as it is."""
        if isinstance(content, str):
            print(content, file=self.out.file)
        else:
            self.out.print(content)
        self.out.file.flush()

    def finish(self) -> None:
        """Call when the whole result was printed and everything is saved.

        Raises:
            OutputLost: a part of the result could not be written.
        """
        lost = self.out.file.lost if isinstance(self.out.file, Outlet) else None
        if lost is not None:
            raise OutputLost(lost) from lost

    def remark(self, text: str) -> None:
        """Says something beside the result, unless quiet."""
        if self.verbosity != "quiet":
            self._to_err(text)

    def event(self, event: Event) -> None:
        """Says what the pipeline reports, as far as the verbosity asks for it."""
        if event.kind in ("interrupted", "progress"):
            return  # said by the command's last words, and by its bar
        if event.kind in WARNINGS:
            self._to_err(f"note: {event.message}")
        elif event.kind == "cleaned":
            report = event.details["report"]
            lines = report.lines(max_names=_LISTED_COLUMNS)
            self.remark("\n".join(lines if self.verbosity == "verbose" else lines[:1]))
        else:
            self.remark(event.message)

    def _to_err(self, text: str) -> None:
        # Through the console, which prints above a running progress bar.
        self.err.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def prepare_streams() -> None:
    """Makes stdout and stderr take any text: narrow ones escape it, a closed stderr swallows it.

    A closed stdout fails like a full one, for the result is lost with it.
    """
    if sys.stdout is None:
        sys.stdout = cast(TextIO, ClosedStream())
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for name in ("stdout", "stderr"):
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _console(stream: TextIO) -> Console:
    from rich.console import Console  # help and usage errors print without it

    width = None if stream.isatty() else _PIPE_WIDTH
    file = cast(TextIO, Outlet(stream))
    return Console(file=file, width=width, highlight=False, emoji=False, markup=False)
