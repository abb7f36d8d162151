"""Figures as SVG for a page, SVG for a file, and PNG."""

from __future__ import annotations

import io
import re
from html import escape

from matplotlib.figure import Figure

from spinlock.report.files import MARK
from spinlock.report.plots import style

# The variables that the page's style sheet gives a light and a dark value.
VARIABLES = {
    style.INK: "--ink",
    style.MUTED: "--muted",
    style.GRID: "--grid",
    style.BLUE: "--blue",
    style.ORANGE: "--orange",
    style.GREEN: "--green",
    style.VERMILION: "--vermilion",
    style.PURPLE: "--purple",
    style.SKY: "--sky",
}
_COLOUR = re.compile("|".join(VARIABLES))
_REFERENCE = re.compile(r'( id="| xlink:href="#|url\(#)')
_DROPPED = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL
)
_ROOT = re.compile(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>")


def page_svg(figure: Figure, key: str, title: str) -> str:
    """An ``<svg>`` element for inside a page: no style, script or comment; colours are variables.

    Text is drawn as outlines, so that no name from the data is part of the markup.

    Args:
        figure: made under :func:`~spinlock.report.plots.style.figure_style`, as is this call.
        key: letters that make its ids differ from those of other figures.
        title: read out in place of the picture.
    """
    text = _DROPPED.sub("", file_svg(figure, background=False))
    text = _REFERENCE.sub(rf"\g<1>{key}-", text)
    text = _COLOUR.sub(lambda match: f"var({VARIABLES[match[0]]})", text)
    head = f'<svg role="img" aria-label="{escape(title)}" viewBox='
    return _ROOT.sub(lambda match: f'{head}"{match[1]}">', text, count=1).strip()


def file_svg(figure: Figure, *, background: bool = True) -> str:
    """A whole SVG document, the same for the same figure."""
    stream = io.StringIO()
    figure.savefig(
        stream,
        format="svg",
        facecolor="white" if background else "none",
        metadata={"Date": None, "Creator": MARK},
    )
    return stream.getvalue()


def png(figure: Figure, dpi: float = 150.0) -> bytes:
    """A PNG picture on white."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, facecolor="white", metadata={"Software": MARK})
    return stream.getvalue()
