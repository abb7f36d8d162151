"""The roofline picture: what was reached under what the machine allows; imports matplotlib."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.record import Record, Row, Timing
from bench.render.facts import short
from bench.render.panels import look
from bench.render.ratios import is_own
from spinlock.report.plots import style

__all__ = ["draw", "height"]

_HEIGHT = 4.6
_CLOCKS = ("cpu", "graph", "events", "wall")


def height(record: Record) -> float:
    """Inches; 0 where no row with a count of operations was timed at one thread."""
    return _HEIGHT * len(_points(record))


def draw(figure: SubFigure, record: Record) -> None:
    """One panel per suite: a point per contender and workload under the measured ceilings."""
    found = _points(record)
    names = list(dict.fromkeys(row.contender for points in found.values() for row, _ in points))
    looks = look(names)
    grid = figure.subplots(len(found), 1, squeeze=False)
    for axes, (suite, points) in zip(grid.flat, found.items(), strict=True):
        _panel(axes, suite, points, _limits(record, points), looks)


def _points(record: Record) -> dict[str, list[tuple[Row, Timing]]]:
    found: dict[str, list[tuple[Row, Timing]]] = {}
    for row in record.rows:
        timing = _one_thread(row)
        counted = row.flops > 0.0 and row.bytes > 0.0 and row.suite != "curves"
        if counted and row.status == "ok" and timing is not None and timing.median > 0.0:
            found.setdefault(row.suite, []).append((row, timing))
    return found


def _limits(record: Record, points: list[tuple[Row, Timing]]) -> dict[str, float]:
    """The run's, with the median of the peaks beside these points in place of its own."""
    found = dict(record.limits)
    for name in found:
        beside = [row.peaks[name] for row, _ in points if name in row.peaks]
        if beside:
            found[name] = median(beside)
    return found


def _one_thread(row: Row) -> Timing | None:
    """At one CPU thread; on a GPU the graph replay before the events."""
    usable = [t for t in row.timings if t.threads == 1 or t.clock in ("graph", "events")]
    known = [t for t in usable if t.clock in _CLOCKS]
    return min(known, key=lambda t: _CLOCKS.index(t.clock), default=None)


def _panel(
    axes: Axes,
    suite: str,
    points: list[tuple[Row, Timing]],
    limits: dict[str, float],
    looks: dict[str, tuple[str, str, float]],
) -> None:
    peaks, streams = _ceilings(limits)
    xs = [row.flops / row.bytes for row, _ in points]
    ys = [row.flops / timing.median * 1e-9 for row, timing in points]
    left, right = min(xs) / 2.5, max(xs) * 2.5
    top = max([*ys, *peaks.values()]) * 1.8
    bottom = min(ys) / 2.0
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, top))
    _draw_ceilings(axes, peaks, streams, (left, right))
    for x in sorted(set(xs)):
        axes.axvline(x, color=style.GRID, linewidth=0.7, zorder=0.5)
    for name in dict.fromkeys(row.contender for row, _ in points):
        colour, marker, size = looks[name]
        mine = [i for i, (row, _) in enumerate(points) if row.contender == name]
        axes.plot(
            [xs[i] for i in mine], [ys[i] for i in mine], linestyle="none", marker=marker,
            color=colour, markersize=size, markeredgecolor="white", markeredgewidth=0.6,
            label=style.label(name, 28), zorder=4.0 if is_own(name) else 3.0,
        )  # fmt: skip
    named = {row.flops / row.bytes: row.workload for row, _ in points}
    _name_workloads(axes, named)
    style.bare(axes, grid="y")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.set_xlabel("arithmetic intensity: operations per byte that must move")
    axes.set_ylabel("GFLOP/s")
    device = points[0][0].device
    head = "one thread" if device == "cpu" else device
    axes.set_title(f"Roofline, {suite}: what was reached, {head}", pad=62.0, fontsize=11.0)
    axes.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), fontsize=8.0)


def _ceilings(limits: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """GFLOP/s and GB/s at one thread (a GPU's have no threads); reading before copying."""
    peaks: dict[str, float] = {}
    streams: dict[str, float] = {}
    for name, value in limits.items():
        if value > 0.0 and not re.search(r", (?!1 thread$)\d+ threads?$", name):
            unit = re.search(r"\b([GT])(FLOP|B)/s", name)
            if unit is not None:
                found = peaks if unit[2] == "FLOP" else streams
                found[short(name)] = value * (1000.0 if unit[1] == "T" else 1.0)
    read = {name: value for name, value in streams.items() if name.startswith("read")}
    return peaks, read or streams


def _draw_ceilings(
    axes: Axes, peaks: dict[str, float], streams: dict[str, float], span: tuple[float, float]
) -> None:
    left, right = span
    bottom, top = axes.get_ylim()
    above: list[float] = []
    for name, peak in sorted(peaks.items(), key=lambda item: item[1]):
        axes.plot(span, (peak, peak), color=style.INK, linewidth=1.1, zorder=2.0)
        crowded = any(peak / other < 1.25 for other in above)
        above.append(peak)
        axes.annotate(
            f"{name} {peak:,.0f}", (right, peak), xytext=(-4, 2 if not crowded else 11),
            textcoords="offset points", ha="right", fontsize=7.5, color=style.INK,
        )  # fmt: skip
    roof = max(peaks.values(), default=top)
    for name, stream in streams.items():
        end = min(right, roof / stream)
        start = max(left, bottom / stream)
        if end <= start:
            continue
        axes.plot((start, end), (start * stream, end * stream), color=style.MUTED, linewidth=1.0)
        at = start * (end / start) ** 0.06
        axes.text(
            at, at * stream * 1.05, f"{name} {stream:,.3g} GB/s", fontsize=7.0, color=style.MUTED,
            rotation=math.degrees(math.atan(stream)), rotation_mode="anchor",
            transform_rotates_text=True, va="bottom", clip_on=True,
        )  # fmt: skip


def _name_workloads(axes: Axes, named: dict[float, str]) -> None:
    """Names above the panel, spread so that none covers another, tied to where they belong."""
    left, right = (math.log(limit) for limit in axes.get_xlim())
    places = [(math.log(x) - left) / (right - left) for x in sorted(named)]
    for place, shown, x in zip(places, _spread(places, 0.045), sorted(named), strict=True):
        axes.annotate(
            style.label(named[x], 24), (place, 1.0), xytext=(shown, 1.05),
            xycoords="axes fraction", textcoords="axes fraction", fontsize=7.5, rotation=28.0,
            rotation_mode="anchor", ha="left", va="bottom", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": style.MUTED, "linewidth": 0.6,
                        "shrinkA": 0.0, "shrinkB": 0.0, "relpos": (0.0, 0.0)},
        )  # fmt: skip


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """The places, in order, moved apart as little as a pass to the right and one back need."""
    moved = list(places)
    for _ in range(50):
        for i in range(1, len(moved)):
            short_of = gap - (moved[i] - moved[i - 1])
            if short_of > 0.0:
                moved[i] += short_of / 2
                moved[i - 1] -= short_of / 2
    return moved
