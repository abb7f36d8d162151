"""Distortion against bits: how many do I need?"""

from __future__ import annotations

from math import nan
from typing import Any

from matplotlib.figure import Figure

from spinlock.analysis.budget_curve import BudgetCurve, BudgetPoint
from spinlock.report.plots import style


def budget_figure(curve: BudgetCurve, bits: float | None = None) -> Figure:
    """Predicted mean and worst error against bits per row, allocated and with equal codebooks.

    Args:
        curve: made by :func:`~spinlock.analysis.budget_curve.budget_curve`.
        bits: bits per row of the plan at hand, marked by a line; None for no line.
    """
    figure = style.new_figure(4.2)
    axes = figure.subplots()
    marker = "o" if len(curve.allocated) < 40 else None
    lines: tuple[tuple[tuple[BudgetPoint, ...], str, dict[str, Any]], ...] = (
        (curve.equal, "equal codebooks", {"linestyle": ":", "linewidth": 1.4}),
        (
            curve.allocated,
            "bits allocated",
            {"linewidth": 2.0, "marker": marker, "markersize": 3.0},
        ),
    )
    for points, how, look in lines:
        at = [point.bits for point in points]
        worst = _drawable([point.worst_mse for point in points])
        mean = _drawable([point.mean_mse for point in points])
        if points:
            axes.plot(at, worst, color=style.VERMILION, label=f"worst category, {how}", **look)
            axes.plot(at, mean, color=style.BLUE, label=f"mean, {how}", **look)
    if not curve.gaussian:
        at = [point.bits for point in curve.allocated]
        values = _drawable([point.gaussian_mse for point in curve.allocated])
        axes.plot(
            at, values, color=style.MUTED, linestyle="--", linewidth=1.2,
            label="mean, Gaussian reference",
        )  # fmt: skip
    if bits is not None:
        axes.axvline(bits, color=style.ORANGE, linewidth=1.4, label=f"this plan: {bits:.1f} bits")
    style.log_scale(axes)
    axes.set_xlabel("bits per row, all categories")
    axes.set_ylabel("predicted squared error per feature, z-units")
    what = "Gaussians of the spectra" if curve.gaussian else f"measured on {curve.rows:,} rows"
    axes.set_title(f"what bits buy: {what}, exponent {curve.alpha:g}")
    style.bare(axes, grid="y")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def _drawable(values: list[float]) -> list[float]:
    return [value if value > 0.0 else nan for value in values]  # a log axis has no 0
