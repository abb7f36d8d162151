"""Prints what a training run ended with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from spinlock.analysis.plan import CompressionPlan
    from spinlock.training.metrics import EvaluationMetrics
    from spinlock.training.pipeline import TrainResult


def result_table(plan: CompressionPlan, metrics: EvaluationMetrics, rows: str) -> Table:
    """Per category, worst first: error, features, bits, and how its codebooks are used.

    The last row holds the means over categories and quantizers, and the sums of features and bits.

    Args:
        plan: the run's plan.
        metrics: of the last measured epoch.
        rows: what they were measured on, for the title.
    """
    table = Table(
        title=Text(f"reconstruction of {rows}, worst category first"),
        caption="MSE per feature in z-units: 1 is what predicting the mean would cost\n"
        "utilization and perplexity: one figure per level",
        show_footer=True,
    )
    table.add_column("category", "mean", overflow="fold")
    columns = {
        "MSE": f"{metrics.mean_mse:.4f}",
        "features": str(sum(c.num_features for c in plan.categories)),
        "bits": f"{metrics.bits:.2f}",
        "utilization": f"{metrics.utilization:.2f}",
        "perplexity": f"{metrics.mean_perplexity:.1f}",
    }
    for header, footer in columns.items():
        table.add_column(header, footer, justify="right")
    levels = plan.num_levels
    rows_of = {c.name: slice(i * levels, (i + 1) * levels) for i, c in enumerate(plan.categories)}
    for category in sorted(plan.categories, key=lambda c: -metrics.category_mse[c.name]):
        part = rows_of[category.name]
        table.add_row(
            Text(category.name),
            f"{metrics.category_mse[category.name]:.4f}",
            str(category.num_features),
            f"{category.bits:.2f}",
            _spaced(metrics.utilization_per_quantizer[part], ".2f"),
            _spaced(metrics.perplexity[part], ".1f"),
        )
    return table


def summary_lines(result: TrainResult) -> list[str]:
    """The run in a few lines: errors and their ratios, codebook usage, where it is saved."""
    lines = []
    metrics = result.metrics
    if metrics is not None:
        codes = result.prepared.plan.total_codes
        lines += [
            f"worst {metrics.worst_category} {metrics.worst_mse:.4f}, mean {metrics.mean_mse:.4f}, "
            f"best {metrics.best_category} {metrics.best_mse:.4f}; "
            f"worst/mean {metrics.worst_over_mean:.2f}, worst/best {metrics.worst_over_best:.2f}",
            f"utilization {metrics.utilization:.2f}, perplexity {metrics.mean_perplexity:.1f}, "
            f"{metrics.bits:.2f} bits per row" + _dead(metrics.dead_codes, codes),
        ]
    elapsed = timedelta(seconds=round(result.seconds))
    lines.append(f"{len(result.history)} epochs; this call took {elapsed}")
    if result.checkpoint is not None:
        lines.append(f"checkpoint: {result.checkpoint}")
    if result.best_checkpoint not in (None, result.checkpoint):
        lines.append(f"lowest held-out error: {result.best_checkpoint}")
    return lines


def result_json(result: TrainResult) -> dict[str, Any]:
    """What a script wants of a finished run: where it is saved and how good it is."""
    measured = [record for record in result.history if record.validation is not None]
    best = result.best_checkpoint
    return {
        "checkpoint": None if result.checkpoint is None else str(result.checkpoint),
        "best_checkpoint": None if best is None else str(best),
        "epochs": len(result.history),
        "seconds": result.seconds,
        "measured": None
        if not measured
        else {"epoch": measured[-1].epoch, "rows": measured[-1].split},
        "metrics": None if result.metrics is None else result.metrics.to_dict(),
    }


def measured_rows(result: TrainResult) -> str:
    """What the metrics were measured on."""
    held_out = len(result.prepared.validation)
    return f"{held_out:,} held-out rows" if held_out else "the training rows"


def _dead(count: int | None, codes: int) -> str:
    return "" if count is None else f", {count:,} of {codes:,} codes dead in the last epoch"


def _spaced(values: Sequence[float], form: str) -> str:
    return "  ".join(format(value, form) for value in values)
