"""What is read from a checkpoint: a model to use, or a run to continue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from spinlock.analysis.plan import CompressionPlan
from spinlock.training.callbacks import EpochRecord
from spinlock.training.metrics import EvaluationMetrics
from spinlock.training.preprocessing import Preprocessing
from spinlock.vqvae import CategoricalHierarchicalVQVAE
from spinlock.vqvae.contract import TokenContract

if TYPE_CHECKING:
    from spinlock.config import TrainConfig


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A trained model with all that stands between raw features and its tokens.

    Attributes:
        path: the checkpoint folder; None for a model that was never in one.
        config: the resolved configuration of the run.
        preprocessing: raw features to the model's input and back.
        plan: ratios, latent dims and codebook sizes per category.
        model: in evaluation mode, on the CPU.
        metrics: of the last epoch that was measured before the checkpoint, or None.
        history: one record per whole epoch.
        data_fingerprint: of the data set that the run was started on; None where not known.
        rows: number of ``training`` and ``validation`` rows of the run; empty where not known.
    """

    path: Path | None
    config: TrainConfig
    preprocessing: Preprocessing
    plan: CompressionPlan
    model: CategoricalHierarchicalVQVAE
    metrics: EvaluationMetrics | None
    history: Sequence[EpochRecord] = ()
    data_fingerprint: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def contract(self) -> TokenContract:
        """What the model's tokens mean; computed from the model once."""
        return TokenContract.of(self.model, self.preprocessing.fingerprint)

    @property
    def where(self) -> str:
        """How messages call it."""
        return "the model in memory" if self.path is None else f"'{self.path}'"


@dataclass(frozen=True, eq=False)
class SavedRun:
    """All of a checkpoint, as resuming needs it; see :class:`SavedModel` for the first ones.

    Attributes:
        path, config, preprocessing, plan, history: as in :class:`SavedModel`.
        data_fingerprint: of the data set that the run was started on.
        model_state: the model's ``state_dict``, on the CPU.
        trainer_state: for :meth:`~spinlock.training.loop.Trainer.load_state`.
    """

    path: Path
    config: TrainConfig
    preprocessing: Preprocessing
    plan: CompressionPlan
    data_fingerprint: str
    model_state: dict[str, Tensor]
    trainer_state: dict[str, Any]
    history: list[EpochRecord]
