"""The figures of a comparison's page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from spinlock.comparison.record import ComparisonRecord
from spinlock.comparison.rows import Row
from spinlock.comparison.summary import COMPARED, FIGURES, Line, summarise
from spinlock.report.plots import style

_CATEGORIES = 40


@dataclass(frozen=True)
class Plot:
    """One figure in its place.

    Attributes:
        key: letters and ``-``: its anchor.
        title: its heading.
        reading: how to read it.
        draw: makes the figure; None where there is nothing to draw.
    """

    key: str
    title: str
    reading: str
    draw: Callable[[], Figure | None]


def plots(record: ComparisonRecord) -> Iterator[Plot]:
    """The figures in the order of the page; draw each under ``figure_style``."""
    lines = [line for line in summarise(record.settings, record.wanted) if line.rows]
    yield Plot(
        "errors",
        "Worst category and mean",
        "A dot is one split, the bar the mean over splits. Dots of one split have the same place "
        "within every row, so that a contender that wins on each of them is seen at once.",
        lambda: error_figure(lines, record.settings.splits),
    )
    yield Plot(
        "changes",
        f"Against {record.settings.baseline}",
        "Paired changes with their 95% intervals, which allow for training rows that splits share. "
        "An interval that crosses the line at 0 is no difference beyond noise.",
        lambda: change_figure(lines),
    )
    yield Plot(
        "categories",
        "Error per category",
        "On the first split; columns are categories, worst of the baseline first.",
        lambda: category_figure(lines, record.settings.baseline),
    )
    yield Plot(
        "gap",
        "Distance from the Gaussian reference, and what it costs",
        "All features together against an ideal code of a Gaussian with the training rows' "
        "covariance at the same bits: 0 dB is that bound, below it real data are easier than a "
        "Gaussian. To the right, what a contender takes to fit.",
        lambda: gap_figure(lines),
    )
    yield Plot(
        "accuracy",
        "Downstream",
        "The best classifier's held-out score on decoded features over its score on raw ones.",
        lambda: retention_figure(lines),
    )


def error_figure(lines: Sequence[Line], splits: Sequence[tuple[int, int | None]]) -> Figure | None:
    """Worst and mean error per contender, a dot per split."""
    if not lines:
        return None
    figure = style.new_figure(1.2 + 0.42 * len(lines))
    for axes, name in zip(figure.subplots(1, 2, sharey=True), ("worst", "mean"), strict=True):
        values = [[float(FIGURES[name](row) or 0.0) for row in line.rows] for line in lines]
        axes.barh(
            range(len(lines)),
            [np.mean(v) for v in values],
            height=0.72,
            color=style.BLUE,
            alpha=0.25,
        )
        places = {split: place for place, split in enumerate(splits)}
        for at, (line, errors) in enumerate(zip(lines, values, strict=True)):
            heights = [at + _within(places[row.seed, row.fold], len(splits)) for row in line.rows]
            axes.plot(errors, heights, "o", color=style.BLUE, markersize=4.5)
        axes.set_xlim(left=0.0)
        axes.set_xlabel("mean squared error per feature, z-units")
        axes.set_title("worst category" if name == "worst" else "mean of categories")
        _names(axes, lines)
    return figure


def change_figure(lines: Sequence[Line]) -> Figure | None:
    """Paired changes of worst and mean with their intervals."""
    shown = [line for line in lines if line.changes]
    if not shown:
        return None
    figure = style.new_figure(1.2 + 0.36 * len(shown))
    for axes, figure_name in zip(figure.subplots(1, 2, sharey=True), COMPARED, strict=True):
        axes.axvline(0.0, color=style.MUTED, linewidth=1.0)
        for at, line in enumerate(shown):
            change = line.changes.get(figure_name)
            if change is None:
                continue
            colour = style.MUTED
            if change.beyond_noise:
                colour = style.GREEN if change.change < 0.0 else style.VERMILION
            if change.low is not None and change.high is not None:
                axes.plot(
                    [100 * change.low, 100 * change.high], [at, at], color=colour, linewidth=2.2
                )
            axes.plot(100 * change.change, at, "o", color=colour, markersize=6)
        axes.set_xlabel("change in %, below 0 is better")
        axes.set_title("worst category" if figure_name == "worst" else "mean of categories")
        _names(axes, shown)
    return figure


def category_figure(lines: Sequence[Line], baseline: str) -> Figure | None:
    """Errors per category of every contender on the first split that all have."""
    rows = _first_split(lines)
    if not rows:
        return None
    leading = next((row for row in rows if row.name == baseline), rows[0])
    assert leading.metrics is not None
    errors = leading.metrics.category_mse
    names = sorted(errors, key=lambda name: -errors[name])[:_CATEGORIES]
    figure = style.new_figure(3.4)
    axes = figure.subplots()
    for number, row in enumerate(rows):
        assert row.metrics is not None
        axes.plot(
            range(len(names)),
            [row.metrics.category_mse[name] for name in names],
            color=style.CYCLE[number % len(style.CYCLE)],
            marker=style.MARKERS[number % len(style.MARKERS)],
            markersize=4.5,
            linewidth=1.2,
            label=style.label(row.name),
        )
    labels = [style.label(name, 14) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=45 if len(names) > 8 else 0, ha="center")
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("mean squared error, z-units")
    if len(names) < len(errors):
        axes.set_title(f"the {len(names)} worst of {len(errors)} categories")
    figure.legend(loc="outside upper left", ncols=4)
    style.bare(axes, grid="y")
    return figure


def gap_figure(lines: Sequence[Line]) -> Figure | None:
    """Gap in dB and seconds per contender."""
    shown = [line for line in lines if line.means["gap_db"] is not None]
    if not shown:
        return None
    figure = style.new_figure(1.1 + 0.32 * len(shown))
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(
        range(len(shown)), [line.means["gap_db"] or 0.0 for line in shown], height=0.66,
        color=style.ORANGE,
    )  # fmt: skip
    left.axvline(0.0, color=style.MUTED, linewidth=1.0)
    left.set_xlabel("gap to D(R) of all features, dB")
    seconds = [max(line.means["seconds"] or 0.0, 1e-3) for line in shown]
    right.barh(range(len(shown)), seconds, height=0.66, color=style.PURPLE)
    right.set_xscale("log")
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    right.minorticks_off()
    right.set_xlabel("seconds to plan and fit")
    for axes in (left, right):
        _names(axes, shown)
    return figure


def retention_figure(lines: Sequence[Line]) -> Figure | None:
    """Retention per contender, a dot per split."""
    shown = [line for line in lines if line.means["retention"] is not None]
    if not shown:
        return None
    figure = style.new_figure(1.0 + 0.32 * len(shown))
    axes = figure.subplots()
    axes.axvline(1.0, color=style.MUTED, linewidth=1.0)
    for at, line in enumerate(shown):
        scores = [row.retention or 0.0 for row in line.rows]
        axes.plot(scores, [at] * len(scores), "o", color=style.GREEN, markersize=5, alpha=0.7)
        axes.plot(float(np.mean(scores)), at, "|", color=style.INK, markersize=13)
    axes.set_xlabel("score on decoded / on raw features")
    _names(axes, shown)
    return figure


def _first_split(lines: Sequence[Line]) -> list[Row]:
    """One row per contender, of the first split that every contender has."""
    keys = [{row.key[1:] for row in line.rows} for line in lines]
    common = (
        [row.key[1:] for row in lines[0].rows if all(row.key[1:] in k for k in keys)]
        if lines
        else []
    )
    if not common:
        return []
    return [row for line in lines for row in line.rows if row.key[1:] == common[0]]


def _within(place: int, count: int) -> float:
    """Where the dot of a split stands in its row, from -0.25 to 0.25."""
    return 0.0 if count == 1 else 0.5 * place / (count - 1) - 0.25


def _names(axes: Axes, lines: Sequence[Line]) -> None:
    axes.set_yticks(range(len(lines)), [style.label(line.name) for line in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    style.bare(axes, grid="x")
