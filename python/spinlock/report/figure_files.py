"""Single figures as files."""

from __future__ import annotations

from pathlib import Path

from spinlock.analysis.budget_curve import BudgetCurve
from spinlock.report.files import write_whole


def write_budget_figure(curve: BudgetCurve, bits: float, path: Path) -> None:
    """Draws distortion against bits into ``path``: SVG, or PNG where its name ends so.

    Args:
        curve: made by :func:`~spinlock.analysis.budget_curve.budget_curve`.
        bits: bits per row of the plan at hand, marked by a line.
        path: ends in ``.svg`` or ``.png``; replaced if it exists.

    Raises:
        SpinlockError: the file cannot be written.
    """
    from spinlock.report.plots import render
    from spinlock.report.plots.budget import budget_figure
    from spinlock.report.plots.style import figure_style

    with figure_style():
        figure = budget_figure(curve, bits)
        if path.suffix.lower() == ".png":
            data = render.png(figure)
        else:
            data = render.file_svg(figure).encode("utf-8")
    write_whole({path: data})
