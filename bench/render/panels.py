"""The panels of bars against the peers and of cost curves; imports matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.record import Record, Row
from bench.render import fits, units
from bench.render.ratios import Clock, clocks, is_own, timing_on
from spinlock.report.plots import style

__all__ = ["bars_height", "curves_height", "draw_bars", "draw_curves", "look"]

_BAR = 0.24
_ROOM = 0.85
_PEER = "#a9b0bb"
_COLUMNS = 2
_CURVE_HEIGHT = 2.5
_OWN_COLOURS = (style.BLUE, style.ORANGE, style.GREEN)
_PEER_COLOURS = ("#4d5563", "#8a93a1", style.PURPLE, style.VERMILION, style.SKY, "#b08d57")


def look(names: Sequence[str]) -> dict[str, tuple[str, str, float]]:
    """Colour, marker and size of each contender: own ones stand out."""
    own = [name for name in names if is_own(name)]
    peers = [name for name in names if not is_own(name)]
    found = {}
    for i, name in enumerate(own):
        found[name] = (_OWN_COLOURS[i % len(_OWN_COLOURS)], "oD^"[i // 3 % 3], 7.0)
    for i, name in enumerate(peers):
        marker = style.MARKERS[(i + 1) % len(style.MARKERS)]
        found[name] = (_PEER_COLOURS[i % len(_PEER_COLOURS)], marker, 4.5)
    return found


def _cases(record: Record) -> list[list[Row]]:
    """Rows to draw bars of, per suite and workload that was timed."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in record.rows:
        if row.suite != "curves" and (row.status == "wrong" or _timed(row)):
            found.setdefault((row.suite, row.workload), []).append(row)
    return [rows for rows in found.values() if any(_timed(row) for row in rows)]


def _timed(row: Row) -> bool:
    return row.status == "ok" and any(timing.median > 0.0 for timing in row.timings)


def bars_height(record: Record) -> float:
    """Inches; 0 without anything to draw."""
    heights = _panel_heights(_cases(record))
    return sum(heights) + 0.35 if heights else 0.0


def _panel_heights(cases: list[list[Row]]) -> list[float]:
    pairs = [cases[i : i + _COLUMNS] for i in range(0, len(cases), _COLUMNS)]
    return [_ROOM + _BAR * max(len(rows) for rows in pair) for pair in pairs]


def draw_bars(figure: SubFigure, record: Record) -> None:
    """One panel per suite and workload: bars from the fastest peer's time, faster to the left."""
    cases = _cases(record)
    heights = _panel_heights(cases)
    figure.suptitle(
        "Time relative to the fastest peer (left of 1: faster than all of them)", fontsize=11.0
    )
    grid = figure.subplots(
        len(heights), min(_COLUMNS, len(cases)), squeeze=False, height_ratios=heights
    )
    flat = list(grid.flat)
    for axes, rows in zip(flat, cases, strict=False):
        _bar_panel(axes, rows)
    for axes in flat[len(cases) :]:
        axes.remove()


def _bar_panel(axes: Axes, rows: list[Row]) -> None:
    clock = clocks([row for row in rows if row.status == "ok"])[0]
    done = sorted((row for row in rows if _seconds(row, clock)), key=lambda r: _seconds(r, clock))
    wrong = [row for row in rows if row.status == "wrong"]
    peers = [row for row in done if not is_own(row.contender)] or done
    one = _seconds(peers[0], clock)
    times = [_seconds(row, clock) / one for row in done]
    low, high = min(*times, 0.8), max(*times, 1.25)
    # Room for the labels, which stand outside of the bars and take a quarter of the width each.
    decades = math.log10(high / low)
    low, high = low / 10 ** (0.62 * decades), high * 10 ** (0.55 * decades)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    for place, (row, times_one) in enumerate(zip(done, times, strict=True)):
        own = is_own(row.contender)
        colour = style.BLUE if own else _PEER
        axes.barh(place, times_one - 1.0, left=1.0, height=0.66, color=colour)
        axes.annotate(
            f"{units.seconds(_seconds(row, clock))}, {units.ratio(times_one)[:-1]}",
            (times_one, place), xytext=(4 if times_one >= 1.0 else -4, 0),
            textcoords="offset points", ha="left" if times_one >= 1.0 else "right", va="center",
            fontsize=7.5, weight="bold" if own else "normal",
            color=style.BLUE if own else style.INK,
        )  # fmt: skip
    for place, _ in enumerate(wrong, start=len(done)):
        axes.barh(
            place, high - low, left=low, height=0.66, facecolor="none", hatch="////",
            edgecolor=style.GRID, linewidth=0.0,
        )  # fmt: skip
        axes.text(
            math.sqrt(low * high), place, "wrong results: no speed", ha="center", va="center",
            fontsize=7.5, color=style.VERMILION,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
    shown = done + wrong
    axes.set_yticks(range(len(shown)), [style.label(row.contender, 28) for row in shown])
    for tick, row in zip(axes.get_yticklabels(), shown, strict=True):
        if is_own(row.contender):
            tick.set(color=style.BLUE, weight="bold")
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.axvline(1.0, color=style.INK, linewidth=0.9)
    style.bare(axes, grid="x")
    _few_ticks(axes, "x")
    on = "" if rows[0].device == "cpu" else f" on {rows[0].device}"
    head = style.label(f"{rows[0].suite} {rows[0].workload}", 44)
    axes.set_title(f"{head}{on}  ({clock.name.replace(chr(10), ' ')})", fontsize=8.5)


def _seconds(row: Row, clock: Clock) -> float:
    timing = timing_on(row, clock) if row.status == "ok" else None
    return timing.median if timing is not None else 0.0


def _few_ticks(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 100.0 * low else (1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def curves_height(record: Record) -> float:
    """Inches; 0 without cost curves."""
    axes = {curve.axis for curve in fits.curves(record)}
    return _CURVE_HEIGHT * len(axes) + 0.35 if axes else 0.0


def draw_curves(figure: SubFigure, record: Record) -> None:
    """Per axis: time, memory, and a legend with the fitted exponents."""
    found = fits.curves(record)
    names = list(dict.fromkeys(curve.contender for curve in found))
    looks = look(names)
    letters = [axis for axis in fits.AXES if any(curve.axis == axis for curve in found)]
    figure.suptitle("Cost of a lookup against each size, the others fixed", fontsize=11.0)
    grid = figure.subplots(len(letters), 3, squeeze=False, width_ratios=(1.0, 1.0, 0.86))
    for row, letter in enumerate(letters):
        time, memory, legend = grid[row]
        for curve in (curve for curve in found if curve.axis == letter):
            colour, marker, size = looks[curve.contender]
            drawn = {"color": colour, "marker": marker, "markersize": size - 1.0}
            drawn |= {"linewidth": 2.0 if is_own(curve.contender) else 1.0}
            time.plot(curve.values, curve.seconds, **drawn)
            held = [(v, b) for v, b in zip(curve.values, curve.peak_bytes, strict=True) if b]
            if held:
                memory.plot([v for v, _ in held], [b for _, b in held], **drawn)
            label = f"{style.label(curve.contender, 24)}  {_exponents(curve)}"
            legend.plot([], [], label=label, **drawn)
        _curve_axes(time, letter, "time of a call", units.seconds)
        _curve_axes(memory, letter, "peak memory of a call", units.size)
        legend.set_axis_off()
        legend.legend(
            loc="center left", bbox_to_anchor=(-0.06, 0.5), fontsize=7.5, handlelength=1.6,
            title=f"contender  time, memory ~ {letter}^", title_fontsize=8.0, alignment="left",
        )  # fmt: skip


def _exponents(curve: fits.Curve) -> str:
    shown = [f"{fit[0]:.2f}" if fit else "-" for fit in (curve.time_fit, curve.memory_fit)]
    return ", ".join(shown)


def _curve_axes(axes: Axes, letter: str, title: str, unit: object) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_title(title, fontsize=8.5)
    axes.set_xlabel(letter)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    write = units.size if unit is units.size else units.seconds
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 50.0 * low else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value).replace(".00", "")))
    axes.tick_params(length=0)
    if not axes.lines:
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
