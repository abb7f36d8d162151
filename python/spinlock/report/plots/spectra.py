"""Principal components of each category against the bits spent on it."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spinlock.analysis.rate_distortion import water_level
from spinlock.report.plots import style
from spinlock.tokens.diagnosis import Diagnosis

_PANELS, _COLUMNS = 12, 3


def spectrum_figure(diagnosis: Diagnosis) -> Figure:
    """One panel per category, worst first: eigenvalues, and the water level of its bits."""
    shown = diagnosis.categories[:_PANELS]
    columns = min(_COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    figure = style.new_figure(0.5 + (2.5 if len(shown) < 3 else 1.95) * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
    top = max(1.0, *(max(category.spectrum, default=1.0) for category in shown))
    for axes, category in zip(panels.flat, shown, strict=False):
        spectrum = np.maximum(np.asarray(category.spectrum), 1e-12)
        rank = np.arange(1, len(spectrum) + 1)
        level = water_level(category.spectrum, category.bits)
        described = spectrum > level
        small = "o" if len(rank) <= 60 else None
        axes.plot(rank, spectrum, color=style.MUTED, linewidth=1.0, marker=small, markersize=2.5)
        axes.plot(
            rank[described], spectrum[described], color=style.BLUE, linewidth=2.2, marker="o",
            markersize=3.0, label="components worth bits",
        )  # fmt: skip
        if level > 0.0:
            axes.axhline(
                level, color=style.ORANGE, linestyle="--", linewidth=1.4,
                label="water level of its bits",
            )  # fmt: skip
        if category.mse > 0.0:
            axes.axhline(
                category.mse, color=style.VERMILION, linewidth=1.2, label="error per feature"
            )
        gap = category.gaussian_gap_db
        told = "" if gap is None else f", {gap:+.1f} dB"
        axes.set_title(style.label(category.name, 28))
        axes.text(
            0.99, 0.97, f"{category.bits:.1f} bits{told}", transform=axes.transAxes, ha="right",
            va="top", fontsize=8.5, color=style.MUTED,
        )  # fmt: skip
        axes.set_ylim(1e-3, top * 1.6)
        style.log_scale(axes)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        style.bare(axes, grid="y")
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    handles, names = panels.flat[0].get_legend_handles_labels()
    title = None
    if len(shown) < len(diagnosis.categories):
        title = f"the {len(shown)} worst of {len(diagnosis.categories)} categories"
    figure.legend(handles, names, loc="outside upper left", ncols=3, title=title, alignment="left")
    figure.supxlabel("principal component", fontsize=9.0)
    figure.supylabel("variance, z-units", fontsize=9.0)
    return figure
