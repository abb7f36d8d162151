"""Error per category, and per feature."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spinlock.report.plots import style
from spinlock.tokens.diagnosis import Diagnosis

_CATEGORIES = 48
_FEATURES = 15
_POINTS = 400


def category_error_figure(diagnosis: Diagnosis) -> Figure:
    """Bars per category, worst first, with the mean, own-token errors and Gaussian references."""
    shown = diagnosis.categories[:_CATEGORIES]
    figure = style.new_figure(1.15 + style.ROW_HEIGHT * len(shown))
    axes = figure.subplots()
    rows = np.arange(len(shown))
    errors = np.array([category.mse for category in shown])
    axes.barh(rows, errors, height=0.68, color=style.BLUE, label="error")
    axes.plot(
        [category.own_mse for category in shown], rows, "D", color=style.ORANGE, markersize=4.5,
        label="with its own tokens alone",
    )  # fmt: skip
    known = [(c.gaussian_mse, row) for row, c in enumerate(shown) if c.gaussian_mse is not None]
    if known:
        at, where = zip(*known, strict=True)
        axes.plot(
            at, where, "|", color=style.INK, markersize=11, markeredgewidth=1.8,
            label="Gaussian reference at the same bits",
        )  # fmt: skip
    axes.axvline(
        diagnosis.mean_mse, color=style.VERMILION, linestyle="--", linewidth=1.4,
        label=f"mean {diagnosis.mean_mse:.3g}",
    )  # fmt: skip
    axes.set_yticks(rows, [style.label(category.name) for category in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(left=0.0)
    for row, error in zip(rows, errors, strict=True):
        inside = error > 0.08 * axes.get_xlim()[1]
        axes.annotate(
            f"{error:.3f}", (0.0 if inside else error, row), (4, 0), textcoords="offset points",
            va="center", fontsize=8.0, color="white" if inside else style.INK,
        )  # fmt: skip
    axes.set_xlabel("mean squared error per feature, z-units")
    if len(shown) < len(diagnosis.categories):
        axes.set_title(f"the {len(shown)} worst of {len(diagnosis.categories)} categories")
    entries = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    bars = entries.pop("error")
    figure.legend([bars, *entries.values()], ["error", *entries], loc="outside upper left", ncols=4)
    style.bare(axes, grid="x")
    return figure


def feature_error_figure(diagnosis: Diagnosis) -> Figure:
    """All features by error, and the worst by name."""
    worst = diagnosis.worst_features(_FEATURES)
    errors = np.array([feature.mse for feature in diagnosis.worst_features()])
    figure = style.new_figure(max(2.6, 1.0 + style.ROW_HEIGHT * len(worst)))
    every, named = figure.subplots(1, 2, gridspec_kw={"width_ratios": (2, 3), "wspace": 0.06})
    rank = np.arange(1, len(errors) + 1)
    if len(errors) > _POINTS:
        chosen = np.unique(np.linspace(0, len(errors) - 1, _POINTS).astype(int))
        rank, errors = rank[chosen], errors[chosen]
    every.fill_between(rank, errors, color=style.BLUE, alpha=0.22, linewidth=0)
    every.plot(rank, errors, color=style.BLUE, marker="o" if len(errors) < 3 else None)
    every.axhline(diagnosis.feature_mse, color=style.VERMILION, linestyle="--", linewidth=1.4)
    every.annotate(
        f"mean {diagnosis.feature_mse:.3g}", (1.0, diagnosis.feature_mse), (-2, 3),
        xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
        color=style.VERMILION, fontsize=8.5,
    )  # fmt: skip
    every.set_ylim(bottom=0.0)
    every.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    every.set_xlabel("rank of the feature")
    every.set_ylabel("mean squared error, z-units")
    every.set_title(f"all {len(diagnosis.features):,} features")
    style.bare(every, grid="y")
    rows = np.arange(len(worst))
    named.barh(rows, [feature.mse for feature in worst], height=0.68, color=style.BLUE)
    names = [f"{style.label(f.name, 30)}  ({style.label(f.category, 14)})" for f in worst]
    named.set_yticks(rows, names)
    named.set_ylim(len(worst) - 0.4, -0.6)
    named.set_xlabel("mean squared error, z-units")
    named.set_title(f"the {len(worst)} worst")
    style.bare(named, grid="x")
    return figure
