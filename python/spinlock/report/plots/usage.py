"""How often each code is chosen."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from spinlock.report.plots import style
from spinlock.tokens.diagnosis import Diagnosis

_QUANTIZERS = 48
_COLUMNS = 512
_LEAST, _MOST = 0.1, 10.0


def usage_figure(diagnosis: Diagnosis) -> Figure:
    """Heat map: quantizers x codes, most used first; the colour is the use against an equal share.

    Above 48 quantizers those with the lowest utilization are shown.
    """
    every = diagnosis.quantizers
    shown = list(every)
    if len(every) > _QUANTIZERS:
        worst = sorted(range(len(every)), key=lambda i: every[i].utilization)[:_QUANTIZERS]
        shown = [every[index] for index in sorted(worst)]
    widest = max(quantizer.num_codes for quantizer in shown)
    columns = min(widest, _COLUMNS)
    relative = np.full((len(shown), columns), np.nan)
    unused = np.zeros((len(shown), columns), dtype=bool)
    for row, quantizer in enumerate(shown):
        counts = np.sort(np.asarray(quantizer.counts, dtype=np.float64))[::-1]
        # A column stands for several codes only where there are more codes than columns.
        position = np.arange(quantizer.num_codes) * columns // widest
        share = counts * quantizer.num_codes / counts.sum()
        total = np.bincount(position, share, columns)
        number = np.bincount(position, minlength=columns)
        filled = number > 0
        relative[row, filled] = total[filled] / number[filled]
        unused[row, filled] = np.bincount(position, counts, columns)[filled] == 0.0
    norm = LogNorm(_LEAST, _MOST, clip=True)
    colours = colormaps["viridis"](norm(np.where(relative > 0.0, relative, _LEAST)))
    colours[unused] = (0xD5 / 255, 0x5E / 255, 0.0, 1.0)
    colours[np.isnan(relative)] = 0.0
    row_height = style.ROW_HEIGHT if len(shown) <= 30 else 0.17
    figure = style.new_figure(max(2.4, 1.35 + row_height * len(shown)))
    axes = figure.subplots()
    extent = (0.5, widest + 0.5, len(shown) - 0.5, -0.5)
    axes.imshow(colours, aspect="auto", interpolation="nearest", extent=extent)
    names = [f"{style.label(q.category, 22)}/L{q.level}" for q in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=8.5 if len(shown) <= 30 else 6.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("codes, most used first")
    style.bare(axes)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    levels = {q.category: 0 for q in shown}
    if 1 < len(levels) <= 30:
        for row in range(1, len(shown)):
            if shown[row].category != shown[row - 1].category:
                axes.axhline(row - 0.5, color=style.GRID, linewidth=1.0)
    bar = figure.colorbar(
        ScalarMappable(norm, "viridis"), ax=axes, aspect=18 if len(shown) <= 12 else 40, pad=0.015,
        ticks=[0.1, 0.3, 1.0, 3.0, 10.0],
    )  # fmt: skip
    bar.ax.set_yticklabels(["≤0.1", "0.3", "1", "3", "≥10"])
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label("times an equal share")
    if len(shown) < len(every):
        axes.set_title(f"the {len(shown)} least used of {len(every)} quantizers")
    handle = Patch(color=style.VERMILION, label="never chosen on these rows")
    figure.legend(handles=[handle], loc="outside upper left")
    return figure
