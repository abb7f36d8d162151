"""A model in a folder of any name: what it holds, what it never replaces, what reading checks."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from spinlock.data import load_table
from spinlock.errors import CheckpointError
from spinlock.tokens.codec import Codec
from spinlock.training import model_folder
from spinlock.training.checkpoint import find_checkpoint, load_model, read_run, save_model
from spinlock.training.manifest import MANIFEST, manifest_of
from spinlock.training.pipeline import TrainResult, train


def as_version_1(folder: Path) -> None:
    """A checkpoint as it was written before contracts and restoration."""
    (folder / "tokens.json").unlink()
    path = folder / "preprocessing.json"
    tree = json.loads(path.read_text())
    del tree["cleaner"]["restoration"], tree["cleaner"]["indicators"]
    path.write_text(json.dumps(tree))
    resealed(folder, version=1)


def resealed(folder: Path, version: int = 2) -> None:
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != MANIFEST}
    manifest = json.loads(manifest_of(files)) | {"format_version": version}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_model_comes_back_under_any_name(result: TrainResult, tmp_path: Path) -> None:
    saved = load_model(result.checkpoint)
    folder = save_model(saved, tmp_path / "deep" / "my model")
    assert folder == tmp_path / "deep" / "my model"
    again = load_model(folder)
    assert again.path == folder
    assert again.contract == saved.contract
    assert again.config == saved.config
    assert again.plan == saved.plan
    assert again.metrics == saved.metrics
    assert again.history == saved.history
    assert len(again.history) == 3
    assert again.rows == {"training": 128, "validation": 32}
    assert again.data_fingerprint == saved.data_fingerprint == result.prepared.data_fingerprint
    state = again.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in saved.model.state_dict().items())


def test_it_holds_no_training_state_and_the_same_files(result: TrainResult, tmp_path: Path) -> None:
    folder = save_model(load_model(result.checkpoint), tmp_path / "m")
    run = contents(result.checkpoint)
    mine = contents(folder)
    assert run.keys() - mine.keys() == {"training_state.json", "training_state.safetensors"}
    assert all(mine[name] == run[name] for name in mine if name != MANIFEST)


@pytest.mark.parametrize("how", ["read", "resume"])
def test_it_cannot_be_resumed_and_says_so(result: TrainResult, tmp_path: Path, how: str) -> None:
    folder = save_model(load_model(result.checkpoint), tmp_path / "m")
    with pytest.raises(CheckpointError, match="without training state"):
        read_run(folder) if how == "read" else train(result.prepared.config, resume=folder)


@pytest.mark.parametrize("name", ["epoch_0003", "latest", "best", "x.y"])
def test_any_name_is_found(result: TrainResult, tmp_path: Path, name: str) -> None:
    folder = save_model(load_model(result.checkpoint), tmp_path / "other" / name)
    assert find_checkpoint(folder) == folder
    assert load_model(folder).path == folder


def test_an_empty_folder_is_taken(result: TrainResult, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    save_model(load_model(result.checkpoint), tmp_path / "m")
    assert load_model(tmp_path / "m").history


def place(folder: Path, what: str, result: TrainResult) -> None:
    saved = load_model(result.checkpoint)
    if what == "a file":
        folder.write_text("mine")
    elif what == "other files":
        folder.mkdir()
        (folder / "thesis.tex").write_text("mine")
    elif what == "a run's checkpoint":
        result.checkpoint.rename(folder)
    else:
        save_model(saved, folder)
        if what == "a file beside":
            (folder / "notes.txt").write_text("mine")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("a file", "is a file"),
        ("other files", "holds other files and no checkpoint"),
        ("a run's checkpoint", "checkpoint of a run"),
        ("a file beside", "'notes.txt' beside a checkpoint"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_such_model_is_never_replaced(
    result: TrainResult, tmp_path: Path, what: str, message: str, overwrite: bool
) -> None:
    saved, folder = load_model(result.checkpoint), tmp_path / "m"
    place(folder, what, result)
    before = folder.read_bytes() if folder.is_file() else contents(folder)
    with pytest.raises(CheckpointError, match=message):
        save_model(saved, folder, overwrite=overwrite)
    assert before == (folder.read_bytes() if folder.is_file() else contents(folder))


def test_a_model_is_replaced_where_that_is_asked(result: TrainResult, tmp_path: Path) -> None:
    saved, folder = load_model(result.checkpoint), tmp_path / "m"
    save_model(load_model(tmp_path / "run" / "epoch_0002"), folder)
    with pytest.raises(CheckpointError, match="holds a checkpoint already"):
        save_model(saved, folder)
    save_model(saved, folder, overwrite=True)
    assert len(load_model(folder).history) == 3
    assert not list(tmp_path.glob(".*"))


FULL = OSError(28, "No space left on device")


def test_a_disk_that_fails_after_the_rename_is_told_as_that(
    result: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, folder = load_model(result.checkpoint), tmp_path / "m"
    save_model(load_model(tmp_path / "run" / "epoch_0002"), folder)

    def full(_: Path) -> None:
        raise FULL

    monkeypatch.setattr(model_folder, "flush_directory", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*has taken its place"):
        save_model(saved, folder, overwrite=True)
    assert len(load_model(folder).history) == 3
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("moment", ["fsync", "rename"])
@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (FULL, CheckpointError, r"No space left on device.*untouched"),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
    ],
    ids=["full disk", "Ctrl-C"],
)
def test_what_breaks_the_writing_leaves_what_was_there(
    result: TrainResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    raised: type[BaseException],
    says: str,
    moment: str,
) -> None:
    saved, folder = load_model(result.checkpoint), tmp_path / "m"
    save_model(saved, folder)
    before = contents(folder)
    original = Path.replace

    def full(*_: Any) -> None:
        raise error

    def failing(path: Path, target: Path) -> Path:
        if Path(target) == folder and "replaced" not in path.name:
            full()
        return original(path, target)

    if moment == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(model_folder.Path, "replace", failing)
    with pytest.raises(raised, match=says):
        save_model(saved, folder, overwrite=True)
    monkeypatch.undo()
    assert contents(folder) == before
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_of_the_version_before_is_read(result: TrainResult) -> None:
    expected = load_model(result.checkpoint).contract
    (result.checkpoint / "tokens.json").unlink()
    with pytest.raises(CheckpointError, match=r"lacks 'tokens.json'"):
        load_model(result.checkpoint)
    resealed(result.checkpoint)
    with pytest.raises(CheckpointError, match=r"lacks 'tokens.json'"):
        load_model(result.checkpoint)
    (result.checkpoint / "tokens.json").touch()
    as_version_1(result.checkpoint)
    saved = load_model(result.checkpoint)
    assert saved.contract == expected
    assert read_run(result.checkpoint).history
    table = load_table(saved.config.dataset_path)
    codec = Codec(saved)
    decoded = codec.decode(codec.encode(table.features))
    # The constant that cleaning dropped: nobody wrote down which value it had.
    assert np.isnan(decoded).all(axis=0).tolist() == [i == 5 for i in range(10)]


@pytest.mark.parametrize("version", [0, 3, 99, "2", None, True, 2.0])
def test_another_format_version_is_refused(result: TrainResult, version: Any) -> None:
    resealed(result.checkpoint, version=version)
    with pytest.raises(CheckpointError, match=r"format version .* this spinlock reads version 2"):
        load_model(result.checkpoint)


def test_codes_of_another_model_are_refused(result: TrainResult) -> None:
    path = result.checkpoint / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    name = next(name for name in weights if name.endswith("bank.weight"))
    weights[name][0] += 0.5
    safetensors.torch.save_file(weights, path)
    resealed(result.checkpoint)
    with pytest.raises(CheckpointError, match=r"about another model .*codebook_hash"):
        load_model(result.checkpoint)


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"quantizers": 3}', "[" * 100_000, "nothing"])
def test_a_contract_that_is_none_is_one_message(result: TrainResult, text: str) -> None:
    (result.checkpoint / "tokens.json").write_text(text)
    resealed(result.checkpoint)
    with pytest.raises(CheckpointError, match=r"tokens.json' .*use another checkpoint"):
        load_model(result.checkpoint)
