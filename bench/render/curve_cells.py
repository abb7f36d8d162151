"""The table of each cost curve: time and memory along one axis, and the fitted exponents."""

from __future__ import annotations

from dataclasses import replace

from bench.record import Record, Row
from bench.render import fits, units
from bench.render.block import NONE, Block, Column, absentees, size_or_none
from bench.render.ratios import is_own

__all__ = ["curve_blocks"]


def curve_blocks(record: Record) -> list[Block]:
    """One table per axis that was measured, in the order B, K, D, Q."""
    found = fits.curves(record)
    return [
        _curve_block(axis, [c for c in found if c.axis == axis], record)
        for axis in fits.AXES
        if any(fits.curve_axis(row) == axis for row in record.rows)
    ]


def _curve_block(axis: str, found: list[fits.Curve], record: Record) -> Block:
    rows = [row for row in record.rows if fits.curve_axis(row) == axis]
    values = sorted({value for curve in found for value in curve.values})
    columns = [Column(f"{axis} ="), Column("")]
    columns += [Column(f"{value:,.0f}", len(values) - i) for i, value in enumerate(values)]
    columns += [Column("grows as")]
    cells: list[list[str]] = []
    own: set[int] = set()
    for curve in found:
        if is_own(curve.contender):
            own.add(len(cells))
        times = dict(zip(curve.values, curve.seconds, strict=True))
        shown = [units.seconds(times[v]) if v in times else NONE for v in values]
        cells.append([curve.contender, "time", *shown, _power(axis, curve.time_fit)])
        peaks = dict(zip(curve.values, curve.peak_bytes, strict=True))
        if any(peak is not None for peak in peaks.values()):
            shown = [size_or_none(peaks.get(v)) for v in values]
            cells.append(["", "memory", *shown, _power(axis, curve.memory_fit)])
    ordered = sorted(rows, key=lambda row: row.figures[axis])
    shapes = list(dict.fromkeys(row.shape for row in (ordered[0], ordered[-1]) if row.shape))
    title = f"cost against {axis}" + (f": {' to '.join(shapes)}" if shapes else "")
    return Block(
        "curves",
        axis,
        title,
        columns,
        cells,
        frozenset(own),
        absentees(_gathered(ordered, axis)),
        remarks=(fits.RULE,) if found else (),
    )


def _gathered(ordered: list[Row], axis: str) -> list[Row]:
    """Rows without figures, one per contender and reason; its points, unless it has no other."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in (row for row in ordered if row.status != "ok"):
        found.setdefault((row.contender, row.note), []).append(row)
    points = len({row.figures[axis] for row in ordered})
    gathered = []
    for (_, note), rows in found.items():
        at = ", ".join(f"{row.figures[axis]:,.0f}" for row in rows)
        where = f"{axis} = {at}" if len(rows) < points else ""
        note = ": ".join(part for part in (where, note) if part)
        gathered.append(replace(rows[0], note=note))
    return gathered


def _power(axis: str, fit: tuple[float, float] | None) -> str:
    return NONE if fit is None else f"{axis}^{fit[0]:.2f} (r² {fit[1]:.3f})"
