"""``Prepared``: everything that stands before the first step, and nothing of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spinlock.analysis.plan import CompressionPlan
from spinlock.training.preprocessing import Matrix, Preprocessing
from spinlock.vqvae import CategoricalVQVAEConfig

if TYPE_CHECKING:
    from spinlock.config import TrainConfig
    from spinlock.data.cleaning_report import CleaningReport


@dataclass(frozen=True, eq=False)
class Prepared:
    """Data, categories and plan of a run.

    Attributes:
        config: the configuration, resolved: computed ratios and their metrics are in it.
        preprocessing: fitted on the training rows only.
        plan: ratios, latent dims and codebook sizes per category.
        train: float32 ``[N_train, D]``, the model's input: z-scored, grouped by category.
        validation: float32 ``[N_val, D]``; no rows where ``validation_split`` is 0.
        cleaning_report: what cleaning dropped and capped, counted.
        data_fingerprint: SHA-256 of the raw table's values and names.
        ratios_reused: the ratios came from ``compression_ratios_computed`` in the configuration.
    """

    config: TrainConfig
    preprocessing: Preprocessing
    plan: CompressionPlan
    train: Matrix
    validation: Matrix
    cleaning_report: CleaningReport
    data_fingerprint: str
    ratios_reused: bool

    @property
    def num_rows(self) -> int:
        """Rows of the data set, training and validation."""
        return len(self.train) + len(self.validation)

    @property
    def num_raw_features(self) -> int:
        """Columns before cleaning."""
        return len(self.preprocessing.names)

    @property
    def num_features(self) -> int:
        """Columns that the model sees."""
        return len(self.preprocessing.groups.order)

    @property
    def model_config(self) -> CategoricalVQVAEConfig:
        """What the model is built from."""
        return model_config(self.config, self.plan)


def model_config(config: TrainConfig, plan: CompressionPlan) -> CategoricalVQVAEConfig:
    """The model that a configuration's options and a plan's dimensions describe."""
    model = config.model
    return CategoricalVQVAEConfig.from_plan(
        plan,
        hierarchy=model.hierarchy,
        group_embedding_dim=model.group_embedding_dim,
        group_hidden_dim=model.group_hidden_dim,
        decoder_hidden_dim=model.decoder_hidden_dim,
        encoder_inputs=model.encoder_inputs,
        linear_decoder=model.linear_decoder,
        commitment_cost=model.commitment_cost,
        commitment_reduction=model.commitment_reduction,
        use_ema=model.use_ema,
        decay=model.decay,
        dropout=model.dropout,
        codebook_init=model.codebook_init,
        orthogonality_weight=model.orthogonality_weight,
        informativeness_weight=model.informativeness_weight,
        topographic_weight=model.topographic_weight,
        seed=config.random_seed,
    )
