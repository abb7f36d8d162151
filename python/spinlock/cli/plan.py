"""Prints a compression plan and what stands before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spinlock.cli.terminal import Terminal
from spinlock.report.plan_text import adaptive_compression_text, allocation_text, plan_table
from spinlock.training.source import source_text

if TYPE_CHECKING:
    from spinlock.analysis.plan import CompressionPlan
    from spinlock.training.prepared import Prepared


def print_plan(plan: CompressionPlan, terminal: Terminal) -> None:
    """The published text where ratios are automatic, the table of dimensions, and of the bits."""
    if plan.source == "auto":
        terminal.result(adaptive_compression_text(plan))
        terminal.result("")
    terminal.result(plan_table(plan))
    if plan.allocation is not None:
        terminal.result(allocation_text(plan.allocation))


def prepared_lines(prepared: Prepared) -> list[str]:
    """What the run would start from, in a few lines."""
    return [
        f"data: {source_text(prepared.config)}, {prepared.num_rows:,} rows "
        f"({len(prepared.train):,} to train on, {len(prepared.validation):,} held out)",
        f"features: {prepared.num_raw_features:,} read, {prepared.num_features:,} after cleaning, "
        f"in {len(prepared.plan.categories)} categories",
    ]


def prepared_json(prepared: Prepared) -> dict[str, Any]:
    """All of it in plain types, for ``--json``."""
    names = iter(prepared.preprocessing.feature_names)
    categories = {
        category.name: [next(names) for _ in range(category.num_features)]
        for category in prepared.plan.categories
    }
    return {
        "data": {
            "dataset_path": prepared.config.dataset_path,
            "rows": prepared.num_rows,
            "training_rows": len(prepared.train),
            "validation_rows": len(prepared.validation),
            "features_read": prepared.num_raw_features,
            "features": prepared.num_features,
            "fingerprint": prepared.data_fingerprint,
        },
        "cleaning": prepared.cleaning_report.to_dict(),
        "categories": categories,
        "ratios_reused": prepared.ratios_reused,
        "bits": prepared.plan.bits,
        "plan": prepared.plan.to_dict(),
    }
