"""A record in a terminal: a table per suite and workload, and in sentences what it says."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.record import Record
from bench.render.block import Block
from bench.render.cells import blocks
from bench.render.facts import environment_cells, limit_cells

__all__ = ["show"]

# Where nobody's window says how wide.
_WIDTH = 100
_STYLES = {"wrong": "bold red", "failed": "red", "missing": "dim", "skipped": "dim"}
_MACHINE = ("machine", "cpu", "gpu", "cores", "threads", "date")


def show(record: Record, console: Console | None = None) -> None:
    """Prints a record: machine and limits, the tables, then noise and environment.

    Args:
        record: what to show.
        console: where to; stdout, without colours where that is no terminal.
    """
    console = console or _stdout()
    _header(record, console)
    for block in blocks(record):
        console.print()
        _show_block(block, console)
    if not record.rows:
        console.print(Text("\nno rows: nothing was measured"))
    _footer(record, console)


def _stdout() -> Console:
    terminal = sys.stdout.isatty()
    return Console(
        width=None if terminal else _WIDTH,
        force_terminal=terminal,
        highlight=False,
        emoji=False,
        markup=False,
    )


def _header(record: Record, console: Console) -> None:
    known = {name: text for name, text in environment_cells(record) if name in _MACHINE}
    words = [f"{name} {known[name]}" for name in _MACHINE if name in known]
    console.print(Text(record.command, style="bold"))
    if words:
        console.print(Text(", ".join(words)))
    columns, lines = limit_cells(record)
    if not lines:
        console.print(Text("the machine's limits were not measured"))
        return
    console.print()
    console.print(_grid("limits, measured in the same run", columns, lines))


def _show_block(block: Block, console: Console) -> None:
    left_out: list[str] = []
    if block.lines:
        table, left_out = _fitting(block, console.width)
        console.print(table)
    else:
        console.print(Text(block.title, style="bold"))
    for absent in block.absent:
        text = Text.assemble(
            f"{absent.contender}: ", (absent.text, _STYLES.get(absent.status, "red"))
        )
        if absent.status == "wrong":
            text.stylize("red")
        _say(text, console)
    for sentence in block.ratios:
        _say(Text(sentence), console)
    for remark in block.remarks:
        _say(Text(remark, style="dim"), console)
    if left_out:
        _say(Text(f"no room for: {', '.join(reversed(left_out))}", style="dim"), console)


def _say(text: Text, console: Console) -> None:
    """A sentence under a table; what goes on in the next line is set in deeper."""
    wrapped = text.wrap(console, max(16, console.width - 4))
    for number, line in enumerate(wrapped):
        line.rstrip()
        console.print(Text("  " if number == 0 else "    ").append_text(line))


def _fitting(block: Block, width: int) -> tuple[Table, list[str]]:
    """The table with as many columns as there is room for, and the names of the others.

    Loose if that fits, else tight, else without the least important column.
    """
    kept, left_out = list(range(len(block.columns))), list[str]()
    while True:
        for padding in (1, 0):
            if _natural_width(block, kept, padding) <= width:
                return _table(block, kept, padding), left_out
        going = max(kept, key=lambda index: (block.columns[index].drop, index))
        if not block.columns[going].drop:
            return _table(block, kept, 0), left_out
        kept.remove(going)
        left_out.append(block.columns[going].name.replace("\n", " "))


def _natural_width(block: Block, kept: list[int], padding: int) -> int:
    """Characters that the columns need when nothing is folded."""
    widths = [
        max(len(part) for text in _texts(block, index) for part in text.split("\n"))
        for index in kept
    ]
    return sum(widths) + (len(widths) - 1) * (1 + padding) + padding


def _texts(block: Block, index: int) -> list[str]:
    return [block.columns[index].name, *(line[index] for line in block.lines)]


def _table(block: Block, kept: list[int], padding: int) -> Table:
    table = Table(
        title=Text(block.title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, padding, 0, 0),
        header_style="bold",
    )
    for index in kept:
        left = index == 0 or not block.columns[index].name
        table.add_column(
            Text(block.columns[index].name),
            justify="left" if left else "right",
            vertical="bottom",
            overflow="fold",
            no_wrap=False,
        )
    for number, line in enumerate(block.lines):
        style = "bold" if number in block.own else ""
        table.add_row(*(Text(line[index]) for index in kept), style=style)
    return table


def _grid(title: str, columns: list[str], lines: list[list[str]]) -> Table:
    table = Table(
        title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
        show_edge=False, padding=(0, 1, 0, 0), header_style="bold",
    )  # fmt: skip
    for number, name in enumerate(columns):
        table.add_column(Text(name), justify="right" if number else "left", overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    return table


def _footer(record: Record, console: Console) -> None:
    console.print()
    for sentence in record.noise or ["nothing disturbed the run, as far as the bench can see"]:
        console.print(Text(f"noise: {sentence}", style="yellow" if record.noise else ""))
    pairs = [f"{name} {text}" for name, text in environment_cells(record) if name != "command"]
    if pairs:
        console.print(Text("; ".join(pairs), style="dim"))
