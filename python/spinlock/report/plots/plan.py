"""Scores of each category, with its compression ratios or, where bits were allocated, its bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spinlock.analysis.compression_plan import CategoryPlan, CompressionPlan
from spinlock.analysis.profile import SCORE_NAMES
from spinlock.report.plots import style

_CATEGORIES = 48


def plan_figure(plan: CompressionPlan) -> Figure:
    """The four scores (where they were measured) beside the ratios or the bits of each level."""
    shown = plan.categories[:_CATEGORIES]
    scored = all(category.profile is not None for category in shown)
    figure = style.new_figure(1.4 + style.ROW_HEIGHT * len(shown))
    rows = np.arange(len(shown))
    if scored:
        scores, ratios = figure.subplots(
            1, 2, sharey=True, gridspec_kw={"width_ratios": (1.25, 1), "wspace": 0.04}
        )
        values = np.array([[c.profile.scores()[n] for n in SCORE_NAMES] for c in shown])  # type: ignore[union-attr]
        scores.imshow(values, aspect="auto", cmap="Blues", vmin=0.0, vmax=1.25)
        for (row, column), value in np.ndenumerate(values):
            scores.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=8.0,
                color="#ffffff" if value > 0.72 else "#10151c",
            )  # fmt: skip
        names = [name.removesuffix("_score") for name in SCORE_NAMES]
        scores.set_xticks(range(len(names)), names, fontsize=8.0)
        scores.set_title("scores, 0 to 1")
        style.bare(scores)
        for side in ("left", "bottom"):
            scores.spines[side].set_visible(False)
        named = scores
    else:
        ratios = named = figure.subplots()
    if plan.allocation is None:
        _draw_ratios(ratios, plan, shown, rows)
    else:
        _draw_bits(ratios, plan, shown, rows)
    named.set_yticks(rows, [style.label(category.name) for category in shown])
    named.set_ylim(len(shown) - 0.5, -0.5)
    figure.legend(loc="outside upper right", ncols=min(plan.num_levels, 8))
    if len(shown) < len(plan.categories):
        named.set_ylabel(f"the first {len(shown)} of {len(plan.categories)} categories")
    return figure


def _draw_ratios(
    axes: Axes, plan: CompressionPlan, shown: Sequence[CategoryPlan], rows: NDArray[np.int64]
) -> None:
    table = np.array([category.ratios for category in shown])
    axes.hlines(rows, table.min(axis=1), table.max(axis=1), color=style.GRID, linewidth=2.5)
    for level in range(plan.num_levels):
        axes.plot(
            table[:, level], rows, style.MARKERS[level % len(style.MARKERS)],
            color=style.CYCLE[level % len(style.CYCLE)], markersize=6.5, label=f"L{level}",
        )  # fmt: skip
    axes.set_xlim(left=0.0)
    axes.set_xlabel("latent dim per feature; larger compresses less")
    title = f"compression ratios: {plan.source.replace('_', ' ')}"
    axes.set_title(f"{title} ({style.label(plan.strategy)})" if plan.strategy else title)
    style.bare(axes, grid="x")


def _draw_bits(
    axes: Axes, plan: CompressionPlan, shown: Sequence[CategoryPlan], rows: NDArray[np.int64]
) -> None:
    left = np.zeros(len(shown))
    for level in range(plan.num_levels):
        bits = np.array([category.levels[level].bits for category in shown])
        colour = style.CYCLE[level % len(style.CYCLE)]
        axes.barh(rows, bits, left=left, height=0.68, color=colour, label=f"L{level}")
        left += bits
    axes.set_xlabel("bits: log2 of the codebook size, level by level")
    axes.set_title(f"{plan.bits:.1f} bits, allocated by {style.label(plan.strategy or '')}")
    style.bare(axes, grid="x")
