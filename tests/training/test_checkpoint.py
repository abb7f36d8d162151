"""The checkpoint folder: its files, reading them back, and what damage says."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from spinlock.config import TrainConfig
from spinlock.data.readers import load_table
from spinlock.errors import CheckpointError, DataError
from spinlock.training.checkpoint import find_checkpoint, load_model, read_run
from spinlock.training.manifest import MANIFEST, manifest_of
from spinlock.training.pipeline import TrainResult, train

MakeConfig = Callable[..., TrainConfig]
NAMES = {
    "manifest.json", "model.safetensors", "config.yaml", "preprocessing.json",
    "preprocessing.safetensors", "training_state.json", "training_state.safetensors",
    "history.json", "metrics.json", "tokens.json",
}  # fmt: skip


def test_the_folder_holds_what_is_documented(result: TrainResult, tmp_path: Path) -> None:
    assert {p.name for p in result.checkpoint.iterdir()} == NAMES
    entries = {p.name for p in (tmp_path / "run").iterdir()}
    assert entries - {"epoch_0001"} == {"epoch_0002", "epoch_0003", "latest", "best", ".lock"}
    history = json.loads((result.checkpoint / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    metrics = json.loads((result.checkpoint / "metrics.json").read_text())
    assert metrics["epoch"] == 3
    assert metrics["split"] == "validation"
    assert metrics["metrics"]["mean_mse"] == result.metrics.mean_mse
    schema = json.loads((result.checkpoint / "preprocessing.json").read_text())["schema"]
    assert schema["fingerprint"] == load_table(result.prepared.config.dataset_path).fingerprint


@pytest.mark.parametrize("where", ["", "epoch_0003", "latest"])
def test_a_loaded_model_gives_the_same_tokens(
    result: TrainResult, tmp_path: Path, where: str
) -> None:
    saved = load_model(tmp_path / "run" / where)
    table = load_table(saved.config.dataset_path)
    x = torch.from_numpy(saved.preprocessing.transform(table.features))
    tokens = saved.model.get_tokens(x)
    assert torch.equal(tokens, result.model.get_tokens(x))
    assert torch.equal(saved.model(x).reconstruction, result.model(x).reconstruction)
    assert not saved.model.training
    assert saved.metrics == result.metrics
    assert saved.plan == result.prepared.plan
    assert saved.config == result.prepared.config
    assert saved.preprocessing.fingerprint == result.prepared.preprocessing.fingerprint


def test_transform_wants_the_columns_it_knows(result: TrainResult) -> None:
    saved = load_model(result.checkpoint)
    with pytest.raises(DataError, match=r"\[N, 10\], got \[2, 9\]"):
        saved.preprocessing.transform(np.zeros((2, 9), np.float32))
    with pytest.raises(DataError, match=r"\[N, 9\]"):
        saved.preprocessing.inverse_transform(np.zeros((2, 10), np.float32))


def test_best_names_the_lowest_held_out_error(make_config: MakeConfig) -> None:
    result = train(make_config(training={"num_epochs": 8, "keep_checkpoints": 1}))
    errors = {r.epoch: r.validation.mean_mse for r in result.history}
    best = min(errors, key=errors.__getitem__)
    folder = find_checkpoint(result.checkpoint.parent / "best")
    assert folder.name == f"epoch_{best:04d}"
    assert load_model(folder).metrics.mean_mse == errors[best]


SHARED = ["manifest.json", "model.safetensors", "config.yaml", "preprocessing.json",
          "preprocessing.safetensors"]  # fmt: skip
NEEDED = [
    *((load_model, name) for name in [*SHARED, "metrics.json", "history.json", "tokens.json"]),
    *((read_run, name) for name in sorted(NAMES - {"metrics.json", "tokens.json"})),
]


@pytest.mark.parametrize(("read", "name"), NEEDED)
@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_missing_and_truncated_files_are_named(
    result: TrainResult, read: Callable[[Path], Any], name: str, how: str
) -> None:
    path = result.checkpoint / name
    data = path.read_bytes()
    path.unlink()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=re.escape(str(result.checkpoint))):
        read(result.checkpoint)


def resealed(folder: Path) -> None:
    """Writes a manifest that fits what the folder holds now."""
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != MANIFEST}
    (folder / MANIFEST).write_bytes(manifest_of(files))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("preprocessing.json", "[]"),
        ("preprocessing.json", "{}"),
        ("preprocessing.json", '{"schema": {"names": 3}, "plan": 1}'),
        ("training_state.json", "[1]"),
        ("history.json", "[{}]"),
        ("history.json", "3"),
        ("config.yaml", "model: 3"),
        ("config.yaml", "!!python/object:os.system ls"),
        ("model.safetensors", "nothing"),
    ],
)
def test_foreign_contents_are_one_readable_error(result: TrainResult, name: str, text: str) -> None:
    (result.checkpoint / name).write_text(text)
    resealed(result.checkpoint)
    with pytest.raises(CheckpointError, match=r"checkpoint|damaged|no readable"):
        read_run(result.checkpoint)


def edited(path: Path, change: Callable[[Any], Any]) -> None:
    """Changes a JSON file of a checkpoint and seals the folder again."""
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    resealed(path.parent)


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["schema"].update(fingerprint="0"),
        lambda tree: tree["schema"]["names"].reverse(),
        lambda tree: tree["schema"]["families"].pop(),
        lambda tree: tree["categories"]["columns"][1].pop(),
        lambda tree: tree["categories"]["columns"].reverse(),
        lambda tree: tree["normaliser"]["names"].reverse(),
        lambda tree: tree["plan"]["categories"].reverse(),
        lambda tree: tree["plan"]["categories"][0].update(num_features=float("inf")),
    ],
)
@pytest.mark.parametrize("read", [load_model, read_run])
def test_parts_that_contradict_each_other_are_refused(
    result: TrainResult, change: Callable[[Any], Any], read: Callable[[Path], Any]
) -> None:
    edited(result.checkpoint / "preprocessing.json", change)
    with pytest.raises(CheckpointError, match="checkpoint"):
        read(result.checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        {"step_in_epoch": 4}, {"step_in_epoch": -1}, {"step_in_epoch": None}, {"epoch": 2},
        {"epoch": 10**30}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_position_that_does_not_exist_is_refused(
    result: TrainResult, change: dict[str, Any]
) -> None:
    edited(result.checkpoint / "training_state.json", lambda tree: tree["progress"].update(change))
    with pytest.raises(CheckpointError, match="does not fit its model"):
        train(result.prepared.config, resume=result.checkpoint)


@pytest.mark.parametrize("key", ["batch_size", "steps_per_epoch"])
def test_other_steps_are_refused(result: TrainResult, key: str) -> None:
    edited(result.checkpoint / "training_state.json", lambda tree: tree.update({key: 3}))
    with pytest.raises(CheckpointError, match=r"steps of .* rows"):
        train(result.prepared.config, resume=result.checkpoint)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("read", [load_model, read_run])
def test_weights_that_are_no_numbers_are_refused(
    result: TrainResult, read: Callable[[Path], Any], value: float
) -> None:
    path = result.checkpoint / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    weights[name].view(-1)[0] = value
    safetensors.torch.save_file(weights, path)
    resealed(result.checkpoint)
    with pytest.raises(CheckpointError, match=f"'{name}' holds infinities or NaN"):
        read(result.checkpoint)


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_a_pipe_is_not_read(result: TrainResult, name: str) -> None:
    (result.checkpoint / name).unlink()
    os.mkfifo(result.checkpoint / name)
    with pytest.raises(CheckpointError, match=r"lacks|no checkpoint"):
        load_model(result.checkpoint)


def test_weights_of_another_model_are_refused(
    result: TrainResult, make_config: MakeConfig, tmp_path: Path
) -> None:
    directory = {"checkpoint_dir": str(tmp_path / "other"), "num_epochs": 1}
    other = train(make_config(model={"decoder_hidden_dim": 12}, training=directory))
    shutil.copy(other.checkpoint / "model.safetensors", result.checkpoint)
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(result.checkpoint)
    resealed(result.checkpoint)
    with pytest.raises(
        CheckpointError, match=r"'decoder\.0\.bias' has shape \[12\], expected \[8\]"
    ):
        load_model(result.checkpoint)


@pytest.mark.parametrize("name", ["best", "latest"])
def test_a_checkpoint_directory_may_be_called_like_a_pointer(
    result: TrainResult, tmp_path: Path, name: str
) -> None:
    (tmp_path / "run").rename(tmp_path / name)
    assert load_model(tmp_path / name).path == tmp_path / name / result.checkpoint.name
    (tmp_path / name / "latest").unlink()
    with pytest.raises(CheckpointError, match="has no file 'latest'"):
        load_model(tmp_path / name)


@pytest.mark.parametrize("path", ["nowhere", "run/epoch_0099", "run/latest/x"])
def test_what_is_no_checkpoint_is_named(result: TrainResult, tmp_path: Path, path: str) -> None:
    del result
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_model(tmp_path / path)
