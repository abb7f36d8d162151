"""A record as plain text, for machines without rich."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.record import Record
from bench.render.cells import blocks
from bench.render.facts import environment_cells, limit_cells

__all__ = ["show", "text"]


def show(record: Record) -> None:
    """Prints :func:`text`."""
    print(text(record), end="")


def text(record: Record) -> str:
    """Command, limits, tables with what is said under them, noise, environment."""
    parts = [record.command]
    columns, lines = limit_cells(record)
    parts.append(_aligned(columns, lines) if lines else "the machine's limits were not measured")
    for block in blocks(record):
        names = [column.name.replace("\n", " ") for column in block.columns]
        table = _aligned(names, block.lines) if block.lines else ""
        absent = [f"{each.contender}: {each.text}" for each in block.absent]
        said = [_said(sentence) for sentence in (*absent, *block.ratios, *block.remarks)]
        parts.append("\n".join(part for part in (block.title, table, *said) if part))
    if not record.rows:
        parts.append("no rows: nothing was measured")
    noise = record.noise or ["nothing disturbed the run, as far as the bench can see"]
    parts.append("\n".join(f"noise: {sentence}" for sentence in noise))
    pairs = [f"{name} {value}" for name, value in environment_cells(record) if name != "command"]
    parts.append(textwrap.fill("; ".join(pairs), 100))
    return "\n\n".join(parts) + "\n"


def _aligned(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart: names to the left, numbers to the right.

    >>> print(_aligned(["who", "time"], [["a", "12 ms"], ["bc", "3 ms"]]))
    who   time
    a    12 ms
    bc    3 ms
    """
    shown = [list(columns), *(list(line) for line in lines)]
    widths = [max(len(line[i]) for line in shown) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in shown
    )


def _said(sentence: str) -> str:
    return textwrap.fill(sentence, 100, initial_indent="  ", subsequent_indent="    ")
