"""A comparison as tables and lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from spinlock.comparison.record import ComparisonRecord
from spinlock.comparison.rows import Row
from spinlock.comparison.settings import UNIFORM
from spinlock.comparison.summary import FIGURES, Line, summarise
from spinlock.comparison.verdict import percent

# Figures of the two tables: heading -> (figure, format).
ERRORS = {
    "worst": ("worst", ".4f"),
    "mean": ("mean", ".4f"),
    "best": ("best", ".4f"),
    "worst/mean": ("worst_over_mean", ".2f"),
    "worst/best": ("worst_over_best", ".2f"),
    "gap, dB": ("gap_db", "+.2f"),
    "accuracy": ("accuracy", ".3f"),
}
CODES = {
    "bits": ("bits", ".2f"),
    "budget": ("budget", ".2f"),
    "own bits": ("own_bits", ".2f"),
    "codes": ("total_codes", ",.0f"),
    "utilization": ("utilization", ".2f"),
    "dead": ("dead_codes", ".1f"),
    "perplexity": ("perplexity", ".1f"),
    "parameters": ("parameters", ",.0f"),
    "seconds": ("seconds", ".1f"),
}
_SHORT = 50
# Figures that are shown with their spread.
_SPREAD = ("worst", "mean")


def error_table(record: ComparisonRecord) -> Table:
    """Per contender the mean over splits of errors and scores, and the change to the baseline."""
    settings = record.settings
    table = Table(
        title=Text(f"{record.dataset}: errors on held-out rows, mean ± spread over seeds"),
        caption="MSE per feature in z-units: 1 is what predicting the mean would cost\n"
        "gap: all features against an ideal code of a Gaussian at the same bits\n"
        f"vs {settings.baseline}: change of worst and mean; * where the paired interval leaves "
        "out 0",
    )
    table.add_column("", overflow="fold")
    table.add_column("splits", justify="right")
    for heading in (*ERRORS, f"vs {settings.baseline}"):
        table.add_column(heading, justify="right")
    for line in summarise(settings, record.wanted):
        cells = [cell(line, figure, form) for figure, form in ERRORS.values()]
        done = f"{len(line.rows)}/{line.splits}"
        table.add_row(Text(line.name), done, *cells, change_text(line) or short_note(line))
    return table


def code_table(record: ComparisonRecord) -> Table:
    """Per contender bits, codes and their use, parameters and time."""
    table = Table(
        title=Text("codes, bits and cost, mean over splits"),
        caption=f"budget: bits of the plan of {UNIFORM}, or --bits; own bits: what the strategy "
        "asked for before its codebooks were scaled\n"
        "utilization, perplexity: on held-out rows; dead: in the last epoch of training",
    )
    table.add_column("", overflow="fold")
    for heading in CODES:
        table.add_column(heading, justify="right")
    for line in summarise(record.settings, record.wanted):
        cells = [cell(line, figure, form) for figure, form in CODES.values()]
        table.add_row(Text(line.name), *cells)
    return table


def row_table(rows: Sequence[Row]) -> Table:
    """Every row by itself."""
    table = Table(title=Text("every run"))
    table.add_column("", overflow="fold")
    columns = {**ERRORS, "bits": CODES["bits"], "seconds": CODES["seconds"]}
    for heading in ("seed", "fold", *columns):
        table.add_column(heading, justify="right")
    for row in rows:
        fold = "-" if row.fold is None else str(row.fold)
        if row.metrics is None:
            table.add_row(Text(row.name), str(row.seed), fold, Text(row.note or ""))
            continue
        cells = [number(FIGURES[figure](row), form) for figure, form in columns.values()]
        table.add_row(Text(row.name), str(row.seed), fold, *cells)
    return table


def verdict_lines(record: ComparisonRecord) -> list[str]:
    """One sentence per contender, and why others could not run."""
    lines = summarise(record.settings, record.wanted)
    said = [line.verdict for line in lines if line.verdict]
    for line in lines:
        if line.note:
            where = "did not run on every split" if line.rows else "did not run"
            said.append(f"{line.name} {where}: {line.note}")
    return said


def short_note(line: Line) -> str:
    """Why a contender did not run, if that fits a cell; empty where it ran."""
    if line.note is None or line.rows:
        return ""
    return line.note if len(line.note) <= _SHORT else "did not run: see below"


def cell(line: Line, figure: str, form: str) -> str:
    """A figure's mean, with its spread where that is shown."""
    text = number(line.means[figure], form)
    spread = line.spreads[figure]
    return f"{text} ± {spread:{form}}" if figure in _SPREAD and spread is not None else text


def change_text(line: Line) -> str:
    """The changes to the baseline in one cell, ``worst mean``; empty for the baseline."""
    return " ".join(
        f"{percent(change.change)}{'*' if change.beyond_noise else ''}"
        for change in line.changes.values()
    )


def number(value: float | None, form: str) -> str:
    """A formatted figure; a dash where there is none.

    >>> number(1234.5, ",.0f"), number(None, ".2f")
    ('1,234', '-')
    """
    return "-" if value is None else format(value, form)
