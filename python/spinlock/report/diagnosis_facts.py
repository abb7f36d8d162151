"""What a report is made of: a diagnosis and the facts around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spinlock.analysis.compression_plan import CompressionPlan
from spinlock.tokens.diagnosis import Diagnosis
from spinlock.training.callbacks import EpochRecord
from spinlock.training.source import source_text

if TYPE_CHECKING:
    from spinlock.tokens.diagnosis_rows import RowSource
    from spinlock.training.checkpoint import SavedModel


@dataclass(frozen=True, eq=False)
class DiagnosisReport:
    """A diagnosis with all that a reader needs to place it.

    Attributes:
        diagnosis: what was measured.
        plan: ratios, latent dims and codebook sizes of the model.
        history: one record per epoch; empty where the checkpoint has none.
        rows: the rows measured, such as ``359 held-out rows of builtin:digits``.
        notes: what the reader should know about them.
        facts: pairs of a name and a text for the head of the report.
        config: the resolved configuration, YAML.
    """

    diagnosis: Diagnosis
    plan: CompressionPlan
    history: Sequence[EpochRecord]
    rows: str
    notes: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    config: str


def diagnosis_report(
    saved: SavedModel, diagnosis: Diagnosis, source: RowSource, config: str
) -> DiagnosisReport:
    """The report of a model measured on rows; ``config`` is its configuration as YAML."""
    model, settings = saved.model.config, saved.config.training
    raw, kept = len(saved.preprocessing.names), model.num_features
    plan = saved.plan
    ratios = f"{plan.source.replace('_', ' ')} ({plan.strategy})" if plan.strategy else plan.source
    epochs = f"{len(saved.history):,} of {settings.total_epochs:,} epochs" if saved.history else "-"
    facts = (
        ("checkpoint", "-" if saved.path is None else str(saved.path)),
        ("trained on", source_text(saved.config)),
        ("measured on", f"{source.rows} of {source.data}"),
        ("model", f"{model.hierarchy}, {model.num_categories} x {model.num_levels} quantizers"),
        ("features", f"{kept:,} of {raw:,} columns kept by cleaning"),
        ("ratios", f"{ratios}, codebook sizes by {plan.codebook_sizing}"),
        ("training", f"{epochs}, batches of {settings.batch_size:,}, seed "
                     f"{saved.config.random_seed}"),
        ("schema", saved.contract.schema_fingerprint),
        ("codebooks", saved.contract.codebook_hash),
    )  # fmt: skip
    return DiagnosisReport(
        diagnosis=diagnosis,
        plan=plan,
        history=tuple(saved.history),
        rows=f"{source.rows} of {source.data}",
        notes=source.notes,
        facts=facts,
        config=config,
    )
