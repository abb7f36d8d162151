"""Pictures of a record: bars against the peers, the roofline, and the cost curves.

matplotlib is imported when one is drawn, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["KINDS", "plot", "source_of"]

KINDS = ("bars", "roofline", "curves")
_WIDTH = 11.0
_NOTHING = "nothing of this kind in the record"


def plot(record: Record, path: Path, kinds: Sequence[str] = KINDS) -> None:
    """One PNG with the pictures that the record has rows for.

    Its metadata hold :func:`source_of` the record, so that a picture of another one can be told.

    Args:
        record: what to draw.
        path: where to.
        kinds: ``bars`` of time relative to the fastest peer, ``roofline`` of GFLOP/s at one thread
            against flops per byte, ``curves`` of time and memory against B, K, D and Q.

    Raises:
        BenchError: an unknown kind, no matplotlib, or ``path`` cannot be written.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise BenchError(f"picture: expected some of {', '.join(KINDS)}, got {' '.join(kinds)!r}")
    _write(record, path, kinds)


def source_of(record: Record) -> str:
    """What a picture's metadata say of the record that it was made from."""
    return f"record {record.digest}"


def _write(record: Record, path: Path, kinds: Sequence[str]) -> None:
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
        _save(figure, path, source_of(record))


def _save(figure: Figure, path: Path, source: str) -> None:
    try:
        written = {"Source": source}
        figure.savefig(path, format="png", dpi=110, facecolor="white", metadata=written)
    except OSError as error:
        raise BenchError(f"{path}: cannot be written ({error.strerror}); name another") from error
