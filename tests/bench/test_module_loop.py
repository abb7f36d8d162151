"""The module-loop peer trains as spinlock does: equal losses, equal revival, then equal errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.peers.module_loop import TOLERANCE, check_equal_losses, train_loop
from bench.peers.module_loop_model import LoopVQVAE
from bench.peers.module_loop_state import build_loop, copy_weights, initialise
from spinlock.config import TrainConfig
from spinlock.data.table import FeatureTable
from spinlock.training.callbacks import Callback, EpochRecord
from spinlock.training.loop import Trainer
from spinlock.training.metrics import EvaluationMetrics
from spinlock.training.prepare import prepare
from spinlock.training.prepared import Prepared
from spinlock.training.seeding import Stream, generator
from spinlock.vqvae import build_vqvae

AUXILIARY = {
    "orthogonality_weight": 0.1,
    "informativeness_weight": 0.1,
    "topographic_weight": 0.02,
}
MODELS: dict[str, dict[str, Any]] = {
    "residual": {"hierarchy": "residual"},
    "summed": {"hierarchy": "residual", "commitment_reduction": "sum", "codebook_init": "uniform"},
    "independent": {"hierarchy": "independent"},
    "auxiliary": {"hierarchy": "independent", **AUXILIARY},
}


def tiny(model: dict[str, Any], **training: Any) -> Prepared:
    """300 rows of three categories of 7, 3 and 5 correlated features, three levels."""
    rng = np.random.default_rng(0)
    families = {}
    for name, width in {"a": 7, "b": 3, "c": 5}.items():
        factors = rng.normal(size=(300, 2)) @ rng.normal(size=(2, width))
        families[name] = factors + 0.3 * rng.normal(size=(300, width))
    settings = {"num_epochs": 3, "batch_size": 60, "category_assignment": "families", **training}
    config = {"dataset_path": "memory:", "model": model, "training": settings}
    return prepare(TrainConfig.model_validate(config), table=FeatureTable.from_families(families))


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_losses_are_equal_over_the_first_steps(model: dict[str, Any]) -> None:
    prepared = tiny(model)
    assert prepared.model_config.num_levels == 3
    assert check_equal_losses(prepared, steps=5) <= TOLERANCE


def change_one_code(model: LoopVQVAE) -> None:
    model.codebook(1, 2).codes.add_(0.5)


def change_the_decay(model: LoopVQVAE) -> None:
    model.codebook(0, 0).decay = 0.5


@pytest.mark.parametrize("change", [change_one_code, change_the_decay])
def test_another_model_is_refused(change: Any) -> None:
    with pytest.raises(BenchError, match="expected spinlock's losses over the first 5 steps"):
        check_equal_losses(tiny(MODELS["residual"]), change=change)


@pytest.mark.parametrize("form", ["residual", "independent"])
@pytest.mark.parametrize("threshold", [0.0, 0.9], ids=["no revival", "revival"])
def test_whole_epochs_are_equal_with_and_without_revival(form: str, threshold: float) -> None:
    prepared = tiny({"hierarchy": form}, dead_code_threshold=threshold, dead_code_stop_fraction=1.0)
    seed, settings = prepared.config.random_seed, prepared.config.training
    train, held_out = torch.as_tensor(prepared.train), torch.as_tensor(prepared.validation)
    torch.manual_seed(0)
    ours = build_vqvae(prepared.model_config)
    ours.initialize_from(train, generator(seed, Stream.INITIALISATION))
    theirs = build_loop(prepared.model_config)
    copy_weights(ours, theirs)
    records: list[EpochRecord] = []

    class Keep(Callback):
        def on_epoch_end(self, record: EpochRecord) -> None:
            records.append(record)

    Trainer(ours, train, held_out, settings, seed=seed, callback=Keep()).run()
    peers: list[tuple[dict[str, float], float]] = []

    def keep(losses: dict[str, float], metrics: EvaluationMetrics, seconds: float) -> None:
        assert seconds > 0
        peers.append((losses, metrics.feature_mse))

    train_loop(theirs, train, held_out, settings, seed, keep)
    assert len(records) == len(peers) == 3
    assert (sum(record.revived for record in records) > 0) == (threshold > 0)
    for record, (losses, error) in zip(records, peers, strict=True):
        assert record.validation is not None
        assert losses == pytest.approx(record.losses, rel=TOLERANCE)
        assert error == pytest.approx(record.validation.feature_mse, rel=TOLERANCE)


@pytest.mark.parametrize("form", ["residual", "independent"])
def test_its_own_initialisation_starts_as_well(form: str) -> None:
    prepared = tiny({"hierarchy": form})
    train = torch.as_tensor(prepared.train)
    torch.manual_seed(0)
    errors = []
    for model in (build_vqvae(prepared.model_config), build_loop(prepared.model_config)):
        source = generator(0, Stream.INITIALISATION)
        if isinstance(model, LoopVQVAE):
            initialise(model, train, source)
        else:
            model.initialize_from(train, source)
        errors.append(float(model.eval()(train).losses["commitment"].detach()))
    assert errors[1] == pytest.approx(errors[0], rel=0.2)


def test_learnable_codebooks_are_refused() -> None:
    with pytest.raises(BenchError, match="use_ema"):
        build_loop(tiny({"use_ema": False}).model_config)
