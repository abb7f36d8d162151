"""Pictures of a record: bars against the peers, the roofline, and the cost curves.

matplotlib is imported when one is drawn, and not before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["bars", "curve_plot", "plot", "roofline_plot"]

_WIDTH = 11.0
_NOTHING = "nothing of this kind in the record"


def bars(record: Record, path: Path) -> None:
    """Time relative to the fastest peer, one panel per suite and workload, as a PNG.

    Raises:
        BenchError: matplotlib is missing, or ``path`` cannot be written.
    """
    _write(record, path, ["bars"])


def roofline_plot(record: Record, path: Path) -> None:
    """GFLOP/s at one thread against flops per byte, under the measured limits, as a PNG.

    Raises:
        BenchError: matplotlib is missing, or ``path`` cannot be written.
    """
    _write(record, path, ["roofline"])


def curve_plot(record: Record, path: Path) -> None:
    """Time and memory against B, K, D and Q with the fitted exponents, as a PNG.

    Raises:
        BenchError: matplotlib is missing, or ``path`` cannot be written.
    """
    _write(record, path, ["curves"])


def plot(record: Record, path: Path) -> None:
    """One PNG with every picture that the record has rows for.

    Raises:
        BenchError: matplotlib is missing, or ``path`` cannot be written.
    """
    _write(record, path, ["bars", "roofline", "curves"])


def _write(record: Record, path: Path, kinds: list[str]) -> None:
    try:
        from matplotlib.figure import Figure

        from bench.render import panels, roofline_panels
        from spinlock.report.plots.style import figure_style
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise BenchError("pictures need matplotlib: pip install matplotlib") from error
    drawers: dict[str, tuple[Callable[[Record], float], Callable[[SubFigure, Record], None]]] = {
        "bars": (panels.bars_height, panels.draw_bars),
        "roofline": (roofline_panels.height, roofline_panels.draw),
        "curves": (panels.curves_height, panels.draw_curves),
    }
    parts = [drawers[kind] for kind in kinds]
    sized = [(height(record), draw) for height, draw in parts if height(record) > 0.0]
    with figure_style():
        heights = [height for height, _ in sized] or [1.0]
        figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
        if sized:
            parts_of = figure.subfigures(len(sized), 1, height_ratios=heights, squeeze=False)
            for (_, draw), part in zip(sized, parts_of[:, 0], strict=True):
                draw(part, record)
        else:
            figure.text(0.5, 0.5, _NOTHING, ha="center", va="center")
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, format="png", dpi=110, facecolor="white")
    except OSError as error:
        raise BenchError(f"{path}: cannot be written ({error.strerror}); name another") from error
