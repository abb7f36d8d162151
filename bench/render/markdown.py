"""A record as Markdown: the whole of it, or one of its tables, ratios and figures."""

from __future__ import annotations

from dataclasses import replace

from bench.errors import BenchError
from bench.record import Record, Row
from bench.render import units
from bench.render.block import NONE, Block
from bench.render.cells import blocks
from bench.render.facts import environment_cells, limit_cells
from bench.render.ratios import cases, clocks, is_own, speedups
from bench.render.tables import drawn, escaped

__all__ = [
    "environment_table",
    "figure",
    "limits_table",
    "markdown",
    "noise",
    "ratio",
    "ratios",
    "slower",
    "table",
]

_SLOWER = 0.995


def markdown(record: Record, level: str = "2") -> str:
    """The whole record: command, limits, tables, ratios, noise, environment.

    Raises:
        BenchError: a level of headings that is none of 1 to 6.
    """
    if level not in tuple("123456"):
        raise BenchError(f"record: expected a level of headings, 1 to 6, got '{level}'")
    head = "#" * int(level)
    parts = [f"`{record.command}`", f"{head} Limits", limits_table(record)]
    for block in blocks(record):
        parts += [f"{head} {escaped(block.title)}", _block(block)]
    if any(is_own(row.contender) for row in record.rows):
        parts += [f"{head} Times faster than", ratios(record)]
    parts += [f"{head} Noise", noise(record), f"{head} Environment", environment_table(record)]
    return "\n\n".join(parts) + "\n"


def table(record: Record, suite: str, workload: str) -> str:
    """The table of one suite and workload (of ``curves``: an axis), and what is said under it.

    Raises:
        BenchError: the record has no such rows.
    """
    for block in blocks(record):
        if (block.suite, block.name) == (suite, workload):
            return _block(block)
    known = ", ".join(f"'{block.suite} {block.name}'" for block in blocks(record))
    raise BenchError(f"table: expected one of {known or 'no rows'}, got '{suite} {workload}'")


def ratios(record: Record, suite: str = "all", clock: str | None = None) -> str:
    """Times faster than each peer, one line per suite, workload and own contender.

    Args:
        record: with the rows.
        suite: only that one; ``all`` of them.
        clock: one of those of the rows, ``graph`` say; that of the tables by default.

    Raises:
        BenchError: the record has no rows of that suite, or none on that clock.
    """
    rows = [row for row in record.rows if row.suite != "curves" and suite in ("all", row.suite)]
    if not rows and suite != "all":
        raise BenchError(f"ratios: expected a suite of the record, got '{suite}'")
    if clock is not None:
        known = dict.fromkeys(timing.clock for row in rows for timing in row.timings)
        if clock not in known:
            raise BenchError(f"ratios: expected a clock of {', '.join(known)}, got '{clock}'")
        rows = [_on_clock(row, clock) for row in rows]
    grouped = cases(rows)
    peers = list(dict.fromkeys(row.contender for row in rows if not is_own(row.contender)))
    peers = [p for p in peers if any(r.contender == p and r.timings for r in rows)]
    lines = []
    for (name, workload), case in grouped.items():
        for row in (row for row in case if is_own(row.contender)):
            if row.timings or row.status == "wrong":
                cells = [_ratio_cell(row, case, peer) for peer in peers]
                lines.append([name, workload, row.contender, *cells])
    if not lines:
        return "No contender of spinlock was timed."
    return drawn(["suite", "workload", "", *peers], lines, left=3)


def _on_clock(row: Row, clock: str) -> Row:
    """The row without its other timings; one that has none on that clock was not timed."""
    timings = tuple(timing for timing in row.timings if timing.clock == clock)
    if row.timings and not timings:
        return replace(row, status="missing", timings=())
    return replace(row, timings=timings)


def ratio(record: Record, suite: str, workload: str, own: str, peer: str) -> str:
    """One ratio, such as ``2.3x``.

    Raises:
        BenchError: it was not measured.
    """
    case = cases(record.rows).get((suite, workload), [])
    done = [row for row in case if row.status == "ok"]
    found = clocks(done)
    for row in done:
        if row.contender == own and found:
            times = speedups(row, done, found[0])
            if peer in times:
                return units.ratio(times[peer])
    names = ", ".join(row.contender for row in done) or "nothing"
    raise BenchError(
        f"ratio: expected two contenders timed in {suite} {workload} ({names}), "
        f"the second one a peer, got '{own}' and '{peer}'"
    )


def figure(record: Record, suite: str, workload: str, contender: str, name: str) -> str:
    """One figure of a suite, such as ``1.23``.

    Raises:
        BenchError: it is not in the record.
    """
    case = cases(record.rows).get((suite, workload), [])
    for row in (row for row in case if row.contender == contender):
        if name in row.figures:
            return units.number(row.figures[name])
    names = dict.fromkeys(f"'{row.contender}' '{each}'" for row in case for each in row.figures)
    raise BenchError(
        f"figure: expected one of {suite} {workload} ({', '.join(names) or 'none'}), "
        f"got '{contender}' '{name}'"
    )


def slower(record: Record, own: str) -> str:
    """Every case in which a peer is faster than ``own`` or holds less memory, the worst first.

    Memory is that of the suite ``memory``, where every contender has a process of its own.

    Raises:
        BenchError: the record has no timed case of it.
    """
    lost: list[tuple[float, list[str]]] = []
    compared = False
    for (suite, workload), case in cases(record.rows).items():
        done = [row for row in case if row.status == "ok"]
        for row in (row for row in done if row.contender == own):
            for what, peer, times in (*_times(row, done), *_savings(row, done)):
                compared = True
                if times < _SLOWER:
                    lost.append((times, [suite, workload, peer, what, units.ratio(times)]))
    if not compared:
        raise BenchError(f"slower: expected a contender that was timed beside a peer, got '{own}'")
    if not lost:
        return f"In no case of this record is a peer faster than {own}, or holds less memory."
    lines = [cells for _, cells in sorted(lost, key=lambda entry: entry[0])]
    return drawn(["suite", "workload", "ahead", "in", f"{own} reaches"], lines, left=4)


def _times(row: Row, done: list[Row]) -> list[tuple[str, str, float]]:
    return [
        ("time", peer, times)
        for clock in clocks(done)[:1]
        for peer, times in speedups(row, done, clock).items()
    ]


def _savings(row: Row, done: list[Row]) -> list[tuple[str, str, float]]:
    """(figure, peer, how many times less memory ``row`` holds)."""
    return [
        (name, peer.contender, peer.figures[name] / size)
        for name, size in row.figures.items()
        for peer in done
        if name.startswith("MB of a ") and not is_own(peer.contender) and name in peer.figures
    ]


def limits_table(record: Record) -> str:
    """The machine's limits, one column per number of threads."""
    columns, lines = limit_cells(record)
    return drawn(columns, lines) if lines else "The limits were not measured."


def environment_table(record: Record) -> str:
    """Machine, versions, date and command."""
    return drawn(["", ""], environment_cells(record), left=2)


def noise(record: Record) -> str:
    """What disturbed the run."""
    sentences = record.noise or ["nothing disturbed the run, as far as the bench can see"]
    return "\n".join(f"- {escaped(sentence)}" for sentence in sentences)


def _block(block: Block) -> str:
    columns = [column.name.replace("\n", " ") for column in block.columns]
    lines = [list(line) for line in block.lines]
    for number in block.own:
        lines[number][0] = f"**{lines[number][0]}**"
    width = len(columns)
    if width > 1 and columns[0]:
        lines += [[a.contender, a.text, *[""] * (width - 2)] for a in block.absent]
        loose = []
    else:
        loose = [f"{absent.contender}: {absent.text}" for absent in block.absent]
    left = 1 + (width > 1 and not columns[1])
    sentences = [*loose, *block.ratios, *block.remarks]
    said = "\n".join(f"- {escaped(sentence)}" for sentence in sentences)
    return "\n\n".join(part for part in (drawn(columns, lines, left=left), said) if part)


def _ratio_cell(row: Row, case: list[Row], peer: str) -> str:
    if row.status != "ok":
        return row.status
    found = clocks([other for other in case if other.status == "ok"])
    times = speedups(row, case, found[0])
    if peer in times:
        return units.ratio(times[peer])
    return next((r.status for r in case if r.contender == peer and r.status != "ok"), NONE)
