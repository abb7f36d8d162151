"""A comparison as one HTML file that needs nothing else: no script, no request, no font."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinlock.comparison.record import MARK, PAGE, ComparisonRecord, environment
from spinlock.comparison.summary import FIGURES, summarise
from spinlock.comparison.table import (
    CODES,
    ERRORS,
    cell,
    change_text,
    number,
    short_note,
    verdict_lines,
)
from spinlock.config import dump_config
from spinlock.report.files import write_whole
from spinlock.report.html import require_report_libraries

if TYPE_CHECKING:
    from spinlock.comparison.plots import Plot
    from spinlock.config import TrainConfig


RETENTION = {"retention": ("retention", ".3f")}


@dataclass(frozen=True)
class PageTable:
    """A table of the page: a row is a name and its cells."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def write_page(record: ComparisonRecord, config: TrainConfig) -> Path:
    """Writes ``compare.html`` beside ``compare.json``; its path.

    Raises:
        SpinlockError: matplotlib or jinja2 is missing, or the file cannot be written.
    """
    path = record.path.parent / PAGE
    # A name with half of a surrogate pair has no UTF-8.
    page = comparison_html(record, config).encode("utf-8", "xmlcharrefreplace")
    write_whole({path: page})
    return path


def comparison_html(record: ComparisonRecord, config: TrainConfig) -> str:
    """The page; every name from the data is escaped.

    Raises:
        SpinlockError: matplotlib or jinja2 is missing.
    """
    require_report_libraries()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = _read("spinlock.comparison", "comparison.html.j2")
    return made.from_string(template).render(
        mark=MARK,
        style=Markup(_read("spinlock.report", "diagnosis.css")),
        dataset=record.dataset,
        verdicts=verdict_lines(record),
        facts=facts(record, config),
        figures=[(plot, Markup(svg)) for plot, svg in _drawn(record)],
        tables=[
            summary_table(record, ERRORS, changes=True),
            summary_table(record, CODES | RETENTION),
            run_table(record),
        ],
        config=dump_config(config),
    )


def facts(record: ComparisonRecord, config: TrainConfig) -> list[tuple[str, str]]:
    """What a reader needs to place the figures."""
    settings, around = record.settings, environment()
    first = next((row for row in record.wanted if row.metrics is not None), None)
    rows = "-"
    if first is not None:
        rows = f"{first.training_rows:,} to train on, {first.held_out_rows:,} held out"
    folds = "the configuration's split" if settings.folds is None else f"{settings.folds} folds"
    bits = "of the uniform plan on each split" if settings.bits is None else f"{settings.bits:g}"
    return [
        ("rows", rows),
        ("splits", f"seeds {', '.join(map(str, settings.seeds))}; {folds}"),
        ("bits per row", bits),
        ("model", f"{config.model.hierarchy}, {config.training.num_epochs:,} epochs, batches of "
                  f"{config.training.batch_size:,}"),
        ("baseline", settings.baseline),
        ("made with", f"spinlock {around['spinlock']}, torch {around['torch']}, "
                      f"{around['threads']} threads, {around['date']}"),
    ]  # fmt: skip


def summary_table(
    record: ComparisonRecord, figures: dict[str, tuple[str, str]], *, changes: bool = False
) -> PageTable:
    """A line per contender."""
    against = f"worst and mean vs {record.settings.baseline}"
    rows = []
    for line in summarise(record.settings, record.wanted):
        cells = [cell(line, figure, form) for figure, form in figures.values()]
        if changes:
            cells.append(change_text(line) or short_note(line))
        rows.append((line.name, tuple(cells)))
    headings = (*figures, against) if changes else tuple(figures)
    return PageTable("Mean over splits; ± spread over seeds.", headings, tuple(rows))


def run_table(record: ComparisonRecord) -> PageTable:
    """A line per run."""
    figures = {**ERRORS, **CODES, **RETENTION}
    rows = []
    for row in record.wanted:
        where = (str(row.seed), "-" if row.fold is None else str(row.fold))
        cells = (
            [row.note or ""]
            if row.metrics is None
            else [number(FIGURES[figure](row), form) for figure, form in figures.values()]
        )
        rows.append((row.name, (*where, *cells)))
    return PageTable("Every run.", ("seed", "fold", *figures), tuple(rows))


def _drawn(record: ComparisonRecord) -> Iterator[tuple[Plot, str]]:
    from spinlock.comparison.plots import plots
    from spinlock.report.plots import render
    from spinlock.report.plots.style import figure_style

    with figure_style():
        for plot in plots(record):
            figure: Any = plot.draw()
            if figure is not None:
                yield plot, render.page_svg(figure, plot.key, plot.title)


def _read(package: str, name: str) -> str:
    return (resources.files(package) / "templates" / name).read_text(encoding="utf-8")
