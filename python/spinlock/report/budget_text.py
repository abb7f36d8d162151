"""How many bits do I need? as a table."""

from __future__ import annotations

from typing import Literal

from rich.table import Table
from rich.text import Text

from spinlock.analysis.budget_curve import BudgetCurve, BudgetPoint

# Shares of the plan's own bits that the table has rows for.
_SHARES = (0.5, 0.625, 0.75, 0.875, 1.0, 1.125, 1.25, 1.5, 1.75, 2.0)

_COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("bits per row", "right"),
    ("per feature", "right"),
    ("codes", "right"),
    ("mean error", "right"),
    ("worst", "right"),
    ("category", "left"),
    ("equal codebooks: mean", "right"),
    ("worst", "right"),
)


def budget_table(curve: BudgetCurve, bits: float, num_features: int) -> Table:
    """Predicted errors around a number of bits per row, and with equal codebooks beside.

    Args:
        curve: made by :func:`~spinlock.analysis.budget_curve.budget_curve`.
        bits: bits per row of the plan at hand, > 0.
        num_features: features of all categories.
    """
    table = Table(
        title=Text("how many bits do I need?"),
        caption=Text(
            f"predicted squared error per feature, z-units ({_source(curve)}); bits spent with "
            f"exponent {curve.alpha:g}"
        ),
    )
    for header, justify in _COLUMNS:
        table.add_column(header, justify=justify)
    for point in budget_rows(curve, bits):
        equal = curve.equal_at(point.bits)
        table.add_row(
            f"{point.bits:.1f}",
            f"{point.bits / num_features:.2f}",
            str(point.codes),
            f"{point.mean_mse:.4f}",
            f"{point.worst_mse:.4f}",
            Text(point.worst_category),
            *(("", "") if equal is None else (f"{error:.4f}" for error in equal)),
        )
    return table


def budget_rows(curve: BudgetCurve, bits: float) -> list[BudgetPoint]:
    """The allocated points at half to twice a number of bits, each once, by ascending bits."""
    return list(dict.fromkeys(curve.at(share * bits) for share in _SHARES))


def _source(curve: BudgetCurve) -> str:
    rows = f"{curve.rows:,} rows"
    return f"Gaussians of the spectra, {rows}" if curve.gaussian else f"measured on {rows}"
