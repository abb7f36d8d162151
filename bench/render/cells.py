"""What a record's tables hold, as text: shared by the terminal and Markdown.

A block is the table of one suite and workload, or of one axis of the cost curves.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from bench.errors import BenchError
from bench.record import Record, Row, Timing
from bench.render import fits, units
from bench.render.block import COST, NONE, Block, Column, absentees, size_or_none
from bench.render.curve_cells import curve_blocks
from bench.render.facts import short
from bench.render.ratios import Clock, clocks, is_own, ratio_lines, ratios_of, timing_on

__all__ = ["blocks"]

_WRONG_KINDS = ("mean 0", "mean 1000")
_COSTS = "xN is the time that an exact lookup takes on such data, over that at mean 0"


def blocks(record: Record) -> list[Block]:
    """The tables of a record, in the order measured; cost curves last."""
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in record.rows:
        if fits.curve_axis(row) is None:
            grouped.setdefault((row.suite, row.workload), []).append(row)
    return [_block(rows, record) for rows in grouped.values()] + curve_blocks(record)


def _block(rows: list[Row], record: Record) -> Block:
    done = [row for row in rows if row.status == "ok"]
    if any(row.timings for row in done):
        return _timed(rows, done, record)
    names = _figure_names(done)
    if 0 < len(done) <= 4 and len(names) > len(done) and not any(row.wrong for row in done):
        return _sideways(rows, done, names)
    columns = [Column("contender")]
    cells = [[row.contender] for row in done]
    if any(row.peak_bytes is not None for row in done):
        _add(columns, cells, Column("memory"), [size_or_none(row.peak_bytes) for row in done])
    kinds = list(dict.fromkeys(kind for row in done for kind in row.wrong))
    for kind in kinds:
        values = [_share_and_cost(row, kind) for row in done]
        _add(columns, cells, Column(_folded(f"wrong at {kind}"), len(columns)), values)
    for name in (name for name in names if name.removeprefix(COST) not in kinds):
        values = [_figure(row, name) for row in done]
        _add(columns, cells, Column(_folded(name), 10 + len(columns)), values)
    remarks = (_COSTS,) if any(name.startswith(COST) for name in names) else ()
    return _finished(rows, done, columns, cells, title=_title(rows), remarks=remarks)


def _timed(rows: list[Row], done: list[Row], record: Record) -> Block:
    found = clocks(done)
    first = found[0]
    done = sorted(done, key=lambda row: _median(row, first))
    roofs = [_roofline(row, first, record.limits_of(row)) for row in done]
    bounds = {roof.bound for roof in roofs if roof is not None}
    columns = [Column("contender"), Column(first.name)]
    cells = [[row.contender, _time(row, first)] for row in done]
    timings = [timing_on(row, first) for row in done]
    best = next((row for row in done if timing_on(row, first) is not None), None)
    spans = [units.span(t.p20, t.p80, t.median) if t else NONE for t in timings]
    _add(columns, cells, Column("p20-p80", 7), spans)
    _add(columns, cells, Column("slower", 1), [_slower(row, best, first) for row in done])
    for place, clock in enumerate(found[1:]):
        _add(columns, cells, Column(clock.name, 3 + place), [_time(row, clock) for row in done])
    for name, drop, amounts in (
        ("GFLOP/s", 6, [row.flops for row in done]),
        ("GB/s", 8, [row.bytes for row in done]),
    ):
        if any(amounts):
            rates = [_rate(a, t) for a, t in zip(amounts, timings, strict=True)]
            _add(columns, cells, Column(name, drop), rates)
    if bounds:
        shares = [
            _roof_share(roof, t, several=len(bounds) > 1)
            for roof, t in zip(roofs, timings, strict=True)
        ]
        _add(columns, cells, Column("of\nlimit", 4), shares)
    if any(row.peak_bytes is not None for row in done):
        _add(columns, cells, Column("memory", 5), [size_or_none(row.peak_bytes) for row in done])
    if any(row.wrong for row in done):
        shares = [" / ".join(_share(row, kind) for kind in _WRONG_KINDS) for row in done]
        _add(columns, cells, Column("wrong at\nmean 0 / 1000", 2), shares)
    for name in _figure_names(done):
        values = [_figure(row, name) for row in done]
        _add(columns, cells, Column(_folded(name), 10 + len(columns)), values)
    title = _title(rows)
    limit = next((roof for roof in roofs if roof is not None), None)
    if limit is not None and len(bounds) == 1:
        title += f"; limit {units.seconds(limit.seconds)} by {short(limit.bound)}"
    return _finished(rows, done, columns, cells, title=title, ratios=ratio_lines(rows))


def _sideways(rows: list[Row], done: list[Row], names: list[str]) -> Block:
    """A few contenders with many figures: one column per contender."""
    columns = [Column("")] + [Column(row.contender) for row in done]
    cells = [[name, *(_figure(row, name) for row in done)] for name in names]
    if any(row.peak_bytes is not None for row in done):
        cells.append(["peak memory", *(size_or_none(row.peak_bytes) for row in done)])
    return Block(
        rows[0].suite,
        rows[0].workload,
        _title(rows),
        columns,
        cells,
        absent=absentees(rows),
        ratios=_figure_ratios(done, names),
        remarks=_notes(done),
    )


def _figure_ratios(done: list[Row], names: list[str]) -> tuple[str, ...]:
    """Of figures that are seconds: how many times faster each own contender is."""
    sentences = []
    for row in (row for row in done if is_own(row.contender)):
        for name in (name for name in names if re.search(r"\bseconds\b|\bs\b", name)):
            own = row.figures.get(name, 0.0)
            pairs = {
                peer.contender: peer.figures[name] / own
                for peer in done
                if own > 0.0 and not is_own(peer.contender) and name in peer.figures
            }
            if pairs:
                sentences.append(f"{row.contender}, {name}: {ratios_of(pairs)}")
    return tuple(sentences)


def _finished(
    rows: list[Row],
    done: list[Row],
    columns: list[Column],
    cells: list[list[str]],
    *,
    title: str,
    ratios: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> Block:
    return Block(
        rows[0].suite,
        rows[0].workload,
        title,
        columns,
        cells,
        own=frozenset(i for i, row in enumerate(done) if is_own(row.contender)),
        absent=absentees(rows),
        ratios=tuple(ratios),
        remarks=(*remarks, *_notes(done)),
    )


def _roofline(row: Row, clock: Clock, limits: dict[str, float]) -> Any:
    """The least time by the measured limits, and which of them binds; None without either."""
    from bench.limits.roofline import roofline

    timing = timing_on(row, clock)
    if timing is None or not limits or not (row.flops or row.bytes):
        return None
    try:
        return roofline(row.flops, row.bytes, limits, timing.threads)
    except BenchError:
        return None


def _add(columns: list[Column], cells: list[list[str]], column: Column, texts: list[str]) -> None:
    columns.append(column)
    for line, text in zip(cells, texts, strict=True):
        line.append(text)


def _title(rows: list[Row]) -> str:
    shape = next((row.shape for row in rows if row.shape), "")
    where = "" if rows[0].device == "cpu" else f" on {rows[0].device}"
    return f"{rows[0].suite} {rows[0].workload}{where}" + (f": {shape}" if shape else "")


def _notes(done: list[Row]) -> tuple[str, ...]:
    return tuple(f"{row.contender}: {row.note}" for row in done if row.note)


def _figure_names(done: list[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in done for name in row.figures))


def _folded(name: str) -> str:
    """A long header in several lines."""
    return "\n".join(textwrap.wrap(name, 10, break_long_words=False))


def _median(row: Row, clock: Clock) -> float:
    timing = timing_on(row, clock)
    return timing.median if timing is not None else float("inf")


def _time(row: Row, clock: Clock) -> str:
    timing = timing_on(row, clock)
    return units.seconds(timing.median) if timing is not None else NONE


def _slower(row: Row, best: Row | None, clock: Clock) -> str:
    mine, least = timing_on(row, clock), timing_on(best, clock) if best is not None else None
    if best is None or mine is None or least is None:
        return NONE
    if row is best:
        return "x1.00"
    times = least.speedup.get(row.contender, mine.median / least.median if least.median else 0.0)
    return f"x{units.ratio(times)[:-1]}"


def _rate(amount: float, timing: Timing | None) -> str:
    if timing is None or not timing.median or not amount:
        return NONE
    return units.number(amount / timing.median * 1e-9)


def _roof_share(roof: Any, timing: Timing | None, *, several: bool) -> str:
    if roof is None or timing is None or not timing.median:
        return NONE
    share = _whole(roof.seconds / timing.median)
    return f"{share} {short(roof.bound)}" if several else share


def _whole(share: float) -> str:
    return f"{100.0 * share:.0f}%" if share >= 0.0995 else f"{100.0 * share:.2g}%"


def _share(row: Row, kind: str) -> str:
    return units.percent(row.wrong[kind]) if kind in row.wrong else NONE


def _share_and_cost(row: Row, kind: str) -> str:
    cost = row.figures.get(f"{COST}{kind}")
    share = _share(row, kind)
    return share if cost is None else f"{share}, x{units.ratio(cost)[:-1]}"


def _figure(row: Row, name: str) -> str:
    return units.number(row.figures[name]) if name in row.figures else NONE
