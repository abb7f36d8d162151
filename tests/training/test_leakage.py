"""Rows that are held out or held back leave no trace in what is trained on the others."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spinlock.config import TrainConfig
from spinlock.data.sampling import sample_rows
from spinlock.data.split import split_rows
from spinlock.training import pipeline
from spinlock.training.callbacks import Callback
from spinlock.training.held_back import held_back_rows
from spinlock.training.loop import Trainer
from spinlock.training.pipeline import TrainResult, train
from spinlock.training.prepared import Prepared

MakeConfig = Callable[..., TrainConfig]

ROWS, KEPT = 400, 320
# So many codes that some of them die and are moved in every epoch.
RATIOS = {"compression_ratios": [0.5, 1.0]}
CROWDED = {
    **RATIOS,
    "decay": 0.3,
    "levels": {name: [{"num_tokens": 64}] * 2 for name in ("shape", "colour")},
}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "revival": {
        "model": CROWDED,
        "training": {"dead_code_threshold": 0.5, "dead_code_stop_fraction": 1.0},
    },
    "rate_distortion": {
        "model": {
            "auto_compression_strategy": "rate_distortion",
            "rate_distortion": {"bits": 12, "max_codes": 8},
        }
    },
    "fit_rows: all": {"fit_rows": "all", "max_samples": KEPT, "normalization_method": "mad"},
    "fit_rows: all, rate_distortion": {
        "fit_rows": "all",
        "max_samples": KEPT,
        "model": {
            "auto_compression_strategy": "rate_distortion",
            "rate_distortion": {"bits": 12, "max_codes": 8},
        },
    },
    "clusters": {"training": {"category_assignment": "auto", "min_features_per_category": 2}},
    "refit": {"model": RATIOS, "training": {"refit": {"rounds": 2, "epochs": 2}}},
}


def write_rows(path: Path) -> None:
    """Two families with two factors each."""
    rng = np.random.default_rng(1)
    families = {}
    for name, width, scale in (("shape", 6, 10.0), ("colour", 4, 0.1)):
        factors = rng.normal(size=(ROWS, 2)) @ rng.normal(size=(2, width))
        families[name] = (scale * (factors + 0.2 * rng.normal(size=(ROWS, width)))).astype("f4")
    np.savez(path, **families)


def held_out_rows(form: dict[str, Any]) -> np.ndarray[Any, Any]:
    if "max_samples" in form:
        return sample_rows(ROWS, KEPT, 0)[split_rows(KEPT, 0.2, 0)[1]]
    return split_rows(ROWS, 0.2, 0)[1]


def with_rows_spoilt(source: Path, target: Path, rows: np.ndarray[Any, Any]) -> None:
    with np.load(source) as file:
        arrays = dict(file)
    for name, array in arrays.items():
        garbage = np.random.default_rng(len(name)).standard_cauchy((len(rows), array.shape[1]))
        array[rows] = 1e3 * garbage
    np.savez(target, **arrays)


def weights(result: TrainResult) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in result.model.state_dict().items()}


@pytest.mark.parametrize("form", FORMS)
def test_held_out_rows_leave_no_trace_in_the_weights(
    form: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    data, spoilt = tmp_path / "rows.npz", tmp_path / "spoilt.npz"
    write_rows(data)
    with_rows_spoilt(data, spoilt, held_out_rows(FORMS[form]))
    before = train(make_config(**FORMS[form], dataset_path=str(data)))
    after = train(make_config(**FORMS[form], dataset_path=str(spoilt)))
    assert before.prepared.plan == after.prepared.plan
    assert before.prepared.data_fingerprint != after.prepared.data_fingerprint
    assert before.metrics is not None
    assert after.metrics is not None
    assert after.metrics.mean_mse > 1.5 * before.metrics.mean_mse  # they were measured
    assert [r.losses for r in before.history] == [r.losses for r in after.history]
    found = weights(after)
    for name, tensor in weights(before).items():
        assert torch.equal(tensor, found[name]), name
    if form == "revival":
        assert sum(record.revived for record in before.history) > 10


class Steps(Callback):
    """All weights after every step, those of refit rounds included."""

    def __init__(self, trainers: list[Trainer]) -> None:
        self.trainers = trainers
        self.seen: list[Tensor] = []

    def on_step_end(self, epoch: int, step: int) -> None:
        del epoch, step
        state = self.trainers[-1].model.state_dict().values()
        self.seen.append(torch.cat([tensor.double().flatten() for tensor in state]))


def test_rows_held_back_leave_no_trace_in_any_step(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Preprocessing is fitted to them: so they are spoilt behind it, as the network would see them.
    config = make_config(
        model=CROWDED,
        training={
            "refit": {"rounds": 1, "epochs": 2, "inner_split": 0.25},
            "dead_code_threshold": 0.5,
            "dead_code_stop_fraction": 1.0,
        },
    )
    trainers: list[Trainer] = []

    class Kept(Trainer):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            trainers.append(self)

    prepare = pipeline.prepare

    def spoiling(*args: Any, **keywords: Any) -> Prepared:
        prepared = prepare(*args, **keywords)
        _, judging = held_back_rows(len(prepared.train), config.training, config.random_seed)
        assert len(judging) == 32
        rows = prepared.train.copy()
        rows[judging.numpy()] = 9.0 * rows[judging.numpy()] + 5.0
        return dataclasses.replace(prepared, train=rows)

    monkeypatch.setattr(pipeline, "Trainer", Kept)
    before, after = Steps(trainers), Steps(trainers)
    train(config, callbacks=[before])
    monkeypatch.setattr(pipeline, "prepare", spoiling)
    train(config, callbacks=[after])
    plain, other = (trainer.refit for trainer in trainers)
    assert plain is not None
    assert other is not None
    assert other.errors[0] > 5.0 * plain.errors[0]  # they do judge
    steps = trainers[0].steps_per_epoch
    assert trainers[0].progress.history[0].revived > 0
    assert len(before.seen) == len(after.seen) == (4 + 2) * steps
    for number, (one, two) in enumerate(zip(before.seen, after.seen, strict=True)):
        assert torch.equal(one, two), f"step {number}"
