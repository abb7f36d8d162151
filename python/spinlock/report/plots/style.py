"""One look for every figure: sizes, colours that colour-blind readers tell apart, safe labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# All figures are as wide as this (inches), so that type has one size on a page.
WIDTH = 9.0
ROW_HEIGHT = 0.27

# Paper, ink and Okabe and Ito's colours; in a page each becomes a CSS variable (render.py).
INK, MUTED, GRID = "#1f2329", "#6b7381", "#d8dce3"
BLUE, ORANGE, GREEN = "#0072b2", "#e69f00", "#009e73"
VERMILION, PURPLE, SKY = "#d55e00", "#cc79a7", "#56b4e9"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY)
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.6,
    # Names of columns are text, whatever characters they hold.
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "spinlock",
    "axes.unicode_minus": True,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """The look of every figure, while it is made and while it is written."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for key, value in _STYLE.items():
            matplotlib.rcParams[key] = value  # type: ignore[index]
        yield


def new_figure(height: float) -> Figure:
    """An empty figure of the common width; ``height`` in inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def bare(axes: Axes, *, grid: Literal["x", "y"] | None = None) -> None:
    """Leaves the grid lines of one direction (``x`` or ``y``), or none."""
    axes.grid(visible=False)
    if grid is not None:
        axes.grid(visible=True, axis=grid)
    axes.tick_params(length=0)


def log_scale(axes: Axes) -> None:
    """A logarithmic y axis whose ticks are plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,)))
    low, high = axes.get_ylim()
    if high < 30.0 * low:  # too few powers of ten to read a value from
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()


def label(name: str, most: int = 26) -> str:
    """A name fit for a figure: one line, cut in the middle, in characters that the font has.

    >>> label("fourier::magnitude_u2v1_of_the_left_half", most=20)
    'fourier::…_left_half'
    """
    text = "".join(_drawable(character) for character in name)
    if len(text) > most:
        head = (most - 1) // 2
        text = f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"
    return text or "(no name)"


def _drawable(character: str) -> str:
    if unicodedata.category(character)[0] == "C" or (character.isspace() and character != " "):
        return "\N{WHITE SQUARE}"
    return character if ord(character) in _characters() else "\N{WHITE SQUARE}"


@cache
def _characters() -> frozenset[int]:
    font = FT2Font(findfont(FontProperties(family="DejaVu Sans")))
    return frozenset(font.get_charmap())
