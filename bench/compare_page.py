"""Fills in the tables of docs/compare.md from committed records.

    spinlock compare --config ... --output out
    cp out/compare.json bench/results/compare-NAME.json
    python -m bench.compare_page docs/compare.md
    python -m bench.compare_page --plot compare-NAME.json docs/images/compare.png

Between ``<!-- errors: FILE -->``, ``<!-- codes: FILE -->``, ``<!-- verdicts: FILE -->`` or
``<!-- imbalance: FILE -->`` and the next ``<!-- end -->`` stands what the record FILE under
bench/results says.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.imbalance import Imbalance
from bench.imbalance import markdown as imbalance_markdown
from spinlock.comparison.rows import Row
from spinlock.comparison.settings import ComparisonSettings
from spinlock.comparison.summary import Line, summarise
from spinlock.comparison.table import CODES, ERRORS, cell, change_text

RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Renders the pages named, or draws the changes of a record; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["--plot"]:
        record = json.loads((RESULTS / given[1]).read_text(encoding="utf-8"))
        Path(given[2]).write_bytes(picture(record))
        return 0
    for name in given:
        page = Path(name)
        page.write_text(rendered(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def rendered(page: str) -> str:
    """A page with what is between its markers made from the records."""

    def made(match: re.Match[str]) -> str:
        record = json.loads((RESULTS / match["file"]).read_text(encoding="utf-8"))
        return f"{match['marker']}\n{TABLES[match['kind']](record)}\n<!-- end -->"

    kinds = "|".join(TABLES)
    marker = rf"(?P<marker><!-- (?P<kind>{kinds}): (?P<file>\S+) -->).*?<!-- end -->"
    return re.sub(marker, made, page, flags=re.DOTALL)


def errors(record: dict[str, Any]) -> str:
    """Errors and scores, one line per contender."""
    return _table(record, ERRORS, changes=True)


def codes(record: dict[str, Any]) -> str:
    """Bits, codes and cost, one line per contender."""
    return _table(record, CODES, changes=False)


def verdicts(record: dict[str, Any]) -> str:
    """The verdicts as a list."""
    return "\n".join(f"- {line.verdict}" for line in lines(record) if line.verdict)


def imbalance(record: dict[str, Any]) -> str:
    """The table of :mod:`bench.imbalance`."""
    keys = Imbalance.__dataclass_fields__
    return imbalance_markdown(Imbalance(**{key: record[key] for key in keys}))


def lines(record: dict[str, Any]) -> list[Line]:
    """The summary of a record, computed anew from its rows."""
    settings = ComparisonSettings(
        strategies=tuple(record["strategies"]),
        baseline=record["baseline"],
        peers=tuple(record["peers"]),
        seeds=tuple(record["seeds"]),
        folds=record["conditions"]["folds"],
        bits=record["conditions"]["bits"],
    )
    return summarise(settings, [Row.from_dict(row) for row in record["rows"]])


def picture(record: dict[str, Any]) -> bytes:
    """The paired changes and their intervals, PNG."""
    from spinlock.comparison.plots import change_figure
    from spinlock.report.plots import render
    from spinlock.report.plots.style import figure_style

    with figure_style():
        figure = change_figure(lines(record))
        assert figure is not None, "a record of two contenders or more"
        return render.png(figure, 110)


def _table(record: dict[str, Any], figures: dict[str, tuple[str, str]], *, changes: bool) -> str:
    headings = ["", *figures] + ([f"vs {record['baseline']}"] if changes else [])
    rows = [
        [line.name, *(cell(line, figure, form) for figure, form in figures.values())]
        + ([change_text(line)] if changes else [])
        for line in lines(record)
    ]
    text = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in text)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "errors": errors,
    "codes": codes,
    "verdicts": verdicts,
    "imbalance": imbalance,
}

if __name__ == "__main__":
    sys.exit(main())
