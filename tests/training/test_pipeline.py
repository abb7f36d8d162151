"""From a configuration to a checkpoint: what is fitted on what, and what a run leaves behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spinlock.config import TrainConfig, load_config
from spinlock.data.readers import load_table
from spinlock.data.split import split_rows
from spinlock.errors import CheckpointError, ConfigError, DataError
from spinlock.training.callbacks import Callback, Event
from spinlock.training.checkpoint import load_model
from spinlock.training.pipeline import TrainResult, analyze, prepare, train
from spinlock.training.prepared import Prepared
from spinlock.training.start import find_device

MakeConfig = Callable[..., TrainConfig]


class Heard(Callback):
    """Keeps events, plans and checkpoints."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.prepared: list[Prepared] = []
        self.checkpoints: list[Path] = []

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_prepared(self, prepared: Prepared) -> None:
        self.prepared.append(prepared)

    def on_checkpoint(self, path: Path) -> None:
        self.checkpoints.append(path)


def weights(result: TrainResult) -> dict[str, torch.Tensor]:
    return result.model.state_dict()


def same_weights(a: TrainResult, b: TrainResult) -> bool:
    return all(torch.equal(weights(a)[name], weights(b)[name]) for name in weights(a))


def test_a_run_from_file_to_checkpoint(make_config: MakeConfig, tmp_path: Path) -> None:
    heard = Heard()
    config = make_config()
    result = train(config, callbacks=[heard])
    said = [kind for kind in heard.kinds if kind != "progress"]
    assert said == ["loaded", "split", "cleaned", "categories", "initialised"]
    assert all(event.message for event in heard.events)
    assert heard.prepared == [result.prepared]
    assert heard.checkpoints == [tmp_path / "run" / f"epoch_000{i}" for i in (1, 2, 3, 4)]
    assert result.checkpoint == tmp_path / "run" / "epoch_0004"
    assert not result.interrupted
    assert not result.model.training
    assert len(result.history) == 4
    assert result.metrics == result.history[-1].validation
    assert list(result.metrics.category_mse) == ["shape", "colour"]
    assert result.metrics.bits == pytest.approx(result.prepared.plan.bits)
    best = min(result.history, key=lambda r: r.validation.mean_mse)
    assert result.best_checkpoint == tmp_path / "run" / f"epoch_{best.epoch:04d}"


def test_statistics_come_from_training_rows_only(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    before = prepare(config)
    with np.load(config.dataset_path) as file:
        arrays = dict(file)
    _, held_out = split_rows(160, 0.2, 0)
    for array in arrays.values():
        array[held_out] = 1e4 * (1 + np.arange(len(held_out)))[:, None]
    changed = tmp_path / "changed.npz"
    np.savez(changed, **arrays)
    after = prepare(make_config(dataset_path=str(changed)))
    np.testing.assert_array_equal(before.train, after.train)
    assert before.plan == after.plan
    assert before.preprocessing.groups == after.preprocessing.groups
    assert not np.array_equal(before.validation, after.validation)
    assert before.data_fingerprint != after.data_fingerprint
    np.testing.assert_allclose(before.train.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(before.train.std(0), 1.0, atol=1e-4)


def test_all_columns_in_tiny_units_train_like_any(make_config: MakeConfig, tmp_path: Path) -> None:
    sections = {
        "model": {"compression_ratios": [0.5, 1.0]},
        "feature_cleaning": {"variance_threshold": 0.0},
    }
    config = make_config(**sections)
    with np.load(config.dataset_path) as file:
        np.savez(tmp_path / "tiny.npz", **{n: a * np.float32(2.0**-40) for n, a in file.items()})
    tiny = make_config(**sections, dataset_path=str(tmp_path / "tiny.npz"))
    plain, other = train(config), train(tiny)
    np.testing.assert_array_equal(other.prepared.train, plain.prepared.train)
    assert other.metrics == plain.metrics
    with pytest.raises(DataError, match=r"lower variance_threshold \(now 1e-16\) below \S+"):
        train(make_config(dataset_path=str(tmp_path / "tiny.npz")))


def test_the_plan_is_measured_on_cleaned_unnormalised_features(make_config: MakeConfig) -> None:
    prepared = prepare(make_config())
    shape, colour = prepared.plan.categories
    assert shape.profile is not None
    assert colour.profile is not None
    assert shape.profile.variance_score == 1.0
    assert colour.profile.variance_score < 0.1
    assert shape.num_features == 5  # the constant column went
    assert prepared.preprocessing.feature_names[:5] == tuple(f"shape::{i}" for i in range(5))
    assert (prepared.num_rows, prepared.num_raw_features, prepared.num_features) == (160, 10, 9)


def test_columns_are_grouped_by_category(make_config: MakeConfig) -> None:
    config = make_config(training={"category_assignment": "auto", "min_features_per_category": 2})
    prepared = prepare(config)
    preprocessing = prepared.preprocessing
    table = load_table(config.dataset_path)
    train_rows, _ = split_rows(160, 0.2, 0)
    cleaned = preprocessing.cleaner.transform(table.features[train_rows])
    by_name = dict(zip(preprocessing.cleaned_names, cleaned.T, strict=True))
    back = preprocessing.inverse_transform(prepared.train)
    for column, name in enumerate(preprocessing.feature_names):
        np.testing.assert_allclose(back[:, column], by_name[name], rtol=1e-4, atol=1e-4)
    assert prepared.model_config.category_sizes == preprocessing.groups.sizes
    assert prepared.model_config.category_names == preprocessing.groups.names


def test_equal_seeds_give_equal_weights(make_config: MakeConfig, tmp_path: Path) -> None:
    runs = []
    for number, seed in enumerate((0, 0, 1)):
        directory = {"checkpoint_dir": str(tmp_path / f"run{number}")}
        config = make_config(training=directory, model={"dropout": 0.2}, random_seed=seed)
        torch.manual_seed(number)
        expected = torch.rand(2)
        torch.manual_seed(number)
        runs.append(train(config))
        assert torch.equal(torch.rand(2), expected)
    assert same_weights(runs[0], runs[1])
    assert not same_weights(runs[0], runs[2])
    first, second = (
        Path(tmp_path / f"run{number}" / "epoch_0004" / "training_state.safetensors").read_bytes()
        for number in (0, 1)
    )
    assert first == second


@pytest.mark.parametrize("hierarchy", ["residual", "independent"])
def test_a_dry_run_stops_before_the_first_step(
    make_config: MakeConfig, tmp_path: Path, hierarchy: str
) -> None:
    config = make_config(model={"hierarchy": hierarchy})
    heard = Heard()
    result = train(config, dry_run=True, callbacks=[heard])
    assert result.dry_run
    assert (result.metrics, result.history, result.checkpoint) == (None, (), None)
    assert result.model.quantizer.bank.initialized
    assert not (tmp_path / "run").exists()
    events: list[Event] = []
    prepared = analyze(config, on_event=events.append)
    assert prepared.plan == result.prepared.plan == heard.prepared[0].plan
    assert [event.kind for event in events] == heard.kinds
    assert not (tmp_path / "run").exists()


def test_computed_ratios_are_saved_reused_and_measured_anew(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    result = train(make_config())
    saved = load_config(result.checkpoint / "config.yaml")
    model = saved.model
    assert model.compression_ratios == "auto"
    assert model.compression_ratios_strategy == "balanced"
    plan = result.prepared.plan
    assert model.compression_ratios_computed == {c.name: list(c.ratios) for c in plan.categories}
    assert set(model.compression_ratios_metrics["shape"]) == {
        "variance_score", "dimensionality_score", "information_score", "correlation_score",
    }  # fmt: skip

    heard = Heard()
    again = train(saved, dry_run=True, callbacks=[heard])
    assert "ratios_reused" in heard.kinds
    assert again.prepared.ratios_reused
    assert again.prepared.plan.ratios == plan.ratios
    assert again.prepared.plan.codebook_sizes == plan.codebook_sizes
    assert again.prepared.plan.source == "auto"
    assert again.prepared.config == saved

    other = {name: [0.5, 0.5, 0.5] for name in ("shape", "colour")}
    edited = saved.model_copy(
        update={"model": model.model_copy(update={"compression_ratios_computed": other})}
    )
    assert prepare(edited).plan.ratios == ((0.5, 0.5, 0.5),) * 2
    heard = Heard()
    anew = train(edited, dry_run=True, recompute_ratios=True, callbacks=[heard])
    assert "ratios_reused" not in heard.kinds
    assert anew.prepared.plan.ratios == plan.ratios
    assert anew.prepared.config == saved

    with np.load(saved.dataset_path) as file:
        np.savez(tmp_path / "renamed.npz", shape=file["shape"], hue=file["colour"])
    renamed = saved.model_copy(update={"dataset_path": str(tmp_path / "renamed.npz")})
    with pytest.raises(ConfigError, match=r"(?s)colour.*hue.*--recompute-ratios"):
        prepare(renamed)
    assert prepare(renamed, recompute_ratios=True).plan.names == ("shape", "hue")


@pytest.mark.parametrize(
    "ratios", ["0.5:1.0", [0.5, 1.0], {"shape": [0.5, 1.0], "colour": [0.25, 0.5]}]
)
def test_given_ratios_need_no_profile(make_config: MakeConfig, ratios: Any) -> None:
    result = train(make_config(model={"compression_ratios": ratios}, training={"num_epochs": 1}))
    assert all(c.profile is None for c in result.prepared.plan.categories)
    saved = load_config(result.checkpoint / "config.yaml")
    assert saved.model.compression_ratios == ratios
    assert saved.model.compression_ratios_computed is None


def test_levels_override_single_entries(make_config: MakeConfig) -> None:
    levels = {"shape": [{"num_tokens": 7}, {"latent_dim": 3}, {}]}
    plan = prepare(make_config(model={"levels": levels})).plan
    assert plan.codebook_sizes[0][0] == 7
    assert plan.latent_dims[0][1] == 3


def test_an_earlier_run_is_moved_aside(make_config: MakeConfig, tmp_path: Path) -> None:
    train(make_config(training={"num_epochs": 1}))
    heard = Heard()
    train(make_config(training={"num_epochs": 2}), callbacks=[heard])
    assert "previous_run_moved" in heard.kinds
    assert (tmp_path / "run.previous-1" / "latest").read_text() == "epoch_0001\n"
    assert (tmp_path / "run" / "latest").read_text() == "epoch_0002\n"


def test_a_data_set_beside_an_earlier_run_stays(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    data = tmp_path / "run" / "mydata.npz"
    np.savez(data, values=np.random.default_rng(0).normal(size=(60, 6)))
    config = make_config(dataset_path=str(data), training={"num_epochs": 1})
    heard = Heard()
    for _ in range(2):
        train(config, callbacks=[heard])
    assert data.is_file()
    assert (tmp_path / "run.previous-1" / "epoch_0001").is_dir()
    assert any("(mydata.npz)" in event.message for event in heard.events)


def test_without_validation_rows(make_config: MakeConfig) -> None:
    heard = Heard()
    config = make_config(training={"validation_split": 0.0, "num_epochs": 1})
    result = train(config, callbacks=[heard])
    assert "validation_on_training" in heard.kinds
    assert result.metrics is not None
    assert result.metrics.rows == 160
    assert load_model(result.checkpoint).metrics == result.metrics


def test_a_folder_that_cannot_be_written_is_found_before_training(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("in the way")
    heard = Heard()
    with pytest.raises(CheckpointError, match="--output"):
        train(make_config(), callbacks=[heard])
    assert heard.events == []


def test_divergence_keeps_the_last_checkpoint(make_config: MakeConfig, tmp_path: Path) -> None:
    settings = {"learning_rate": 1e20, "warmup_epochs": 0, "num_epochs": 30, "gradient_clip": None}
    with pytest.raises(DataError, match=r"training diverged.*gradient_clip \(now null\)"):
        train(make_config(training=settings))
    for name in (p.name for p in (tmp_path / "run").glob("epoch_*")):
        state = load_model(tmp_path / "run" / name).model.state_dict()
        assert all(torch.isfinite(t).all() for t in state.values() if t.is_floating_point())


@pytest.mark.parametrize("name", ["tpu9", "", "meta", "mps", "gpu"])
def test_unknown_devices_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^device: expected cpu, cuda, cuda:N or auto, got '"):
        find_device(name)


@pytest.mark.parametrize("name", ["cuda:99", "cuda:x", "cpu:-1"])
def test_devices_that_are_not_here_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used here"):
        find_device(name)


def test_the_automatic_device_exists() -> None:
    torch.zeros(1, device=find_device("auto"))
