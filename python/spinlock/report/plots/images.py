"""Images before and after."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from spinlock.report.plots import style
from spinlock.tokens.diagnosis import ImageRows

_MOST = 12


def image_figure(images: ImageRows) -> Figure:
    """Originals above their reconstructions, in one scale of grey."""
    originals, decoded = images.originals[:_MOST], images.reconstructions[:_MOST]
    count = len(originals)
    height, width = originals.shape[1:]
    tile = (style.WIDTH - 1.1) / max(count, 6)
    figure = style.new_figure(2.0 * tile * min(3.0, height / width) + 0.15)
    panels = figure.subplots(2, count, squeeze=False)
    finite = originals[np.isfinite(originals)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    for row, (what, pictures) in enumerate((("original", originals), ("decoded", decoded))):
        for axes, picture in zip(panels[row], pictures, strict=True):
            axes.imshow(picture, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(True)
                spine.set_color(style.GRID)
        panels[row, 0].set_ylabel(what, rotation=0, ha="right", va="center", labelpad=6)
    return figure
