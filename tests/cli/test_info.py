"""``spinlock info``: what a checkpoint or a token file is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnosis_models import trained
from spinlock.cli.info import size_text
from spinlock.tokens.codec import Codec
from spinlock.tokens.files import token_writer
from spinlock.training.checkpoint import load_model, save_model

RunCommand = Callable[..., Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint directory, with a token file and another model's beside it."""
    folder = tmp_path_factory.mktemp("informed")
    saved = trained(folder, {"shape": 5, "colour": 3})
    other = trained(folder / "other", {"shape": 5, "colour": 3}, random_seed=1)
    for name, model in (("tokens.npz", saved), ("tokens.parquet", saved), ("other.npz", other)):
        tokens = Codec(model).encode(np.zeros((7, 8), np.float32))
        with token_writer(folder / name, model.contract, 7) as write:
            write(tokens)
    return folder / "run"


def test_a_checkpoint_directory(run_command: RunCommand, run: Path) -> None:
    ended = run_command("info", run)
    assert (ended.code, ended.err) == (0, "")
    saved = load_model(run)
    for line in (
        f"checkpoint: {run}/epoch_0002",
        "can be resumed: yes",
        "features: 8 read (shape 5, colour 3), 8 after cleaning, in 2 categories",
        "tokens: 6 per row, uint8, ",
        f"schema fingerprint: {saved.contract.schema_fingerprint}",
        f"codebook hash: {saved.contract.codebook_hash}",
        "compression plan: ",
        "reconstruction of 40 held-out rows",
        "160 rows trained on, 40 held out",
        "2 epochs",
    ):
        assert line in ended.out, line
    assert "\x1b" not in ended.out


def test_as_json(run_command: RunCommand, run: Path) -> None:
    found = json.loads(run_command("info", run / "epoch_0002", "--json").out)
    saved = load_model(run)
    assert found["contract"] == saved.contract.to_dict()
    assert found["metrics"]["mean_mse"] == saved.metrics.mean_mse
    assert found["plan"] == json.loads(json.dumps(saved.plan.to_dict()))
    assert found["categories"]["colour"] == ["colour::0", "colour::1", "colour::2"]
    files = found["checkpoint"]["files"]
    folder = run / "epoch_0002"
    assert files == {path.name: path.stat().st_size for path in folder.iterdir()}
    assert found["checkpoint"]["bytes"] == sum(files.values())
    assert found["data"]["rows"] == {"training": 160, "validation": 40}


@pytest.mark.parametrize("name", ["training_state.safetensors", "model.safetensors"])
def test_a_checkpoint_that_lacks_a_file(
    run_command: RunCommand, run: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "epoch_0002"
    shutil.copytree(run / "epoch_0002", folder)
    (folder / name).unlink()
    ended = run_command("info", folder)
    assert (ended.code, ended.out) == (1, "")
    says = f"error: the checkpoint '{folder}' lacks '{name}': it is incomplete; use another one\n"
    assert ended.err == says


def test_a_model_without_training_state(run_command: RunCommand, run: Path, tmp_path: Path) -> None:
    save_model(load_model(run), tmp_path / "mine")
    ended = run_command("info", tmp_path / "mine")
    assert "can be resumed: no, it holds no training state" in ended.out
    assert json.loads(run_command("info", "mine", "--json").out)["checkpoint"]["path"] == "mine"


@pytest.mark.parametrize("name", ["tokens.npz", "tokens.parquet"])
def test_a_token_file(name: str, run_command: RunCommand, run: Path) -> None:
    path = run.parent / name
    ended = run_command("info", path, "--checkpoint", run)
    assert ended.code == 0, ended.err
    contract = load_model(run).contract
    for line in (
        f"tokens: {path}",
        "rows: 7",
        "per row: 6 tokens, uint8",
        "quantizers: shape/L0, shape/L1, shape/L2, colour/L0",
        f"codebook hash: {contract.codebook_hash}",
        f"of the checkpoint {run}/epoch_0002: yes",
    ):
        assert line in ended.out, line
    found = json.loads(run_command("info", path, "--json").out)
    assert found["contract"] == contract.to_dict()
    assert (found["rows"], found["checkpoint"]) == (7, None)
    assert found["bytes"] == path.stat().st_size


def test_tokens_of_another_checkpoint(run_command: RunCommand, run: Path) -> None:
    ended = run_command("info", run.parent / "other.npz", "--checkpoint", run)
    assert (ended.code, ended.out) == (1, "")
    assert "holds tokens of another model than" in ended.err


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("nowhere", 1, "holds no checkpoint"),
        ("nowhere.npz", 1, "does not exist"),
        ("data.npz", 1, "has no token contract"),
        ("run/epoch_0002/config.yaml", 1, "is no token file"),
    ],
)
def test_what_it_does_not_know(
    name: str, code: int, says: str, run_command: RunCommand, run: Path
) -> None:
    ended = run_command("info", run.parent / name)
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_a_checkpoint_of_a_checkpoint(run_command: RunCommand, run: Path) -> None:
    ended = run_command("info", run, "--checkpoint", run)
    assert ended.code == 2
    assert "--checkpoint is for token files" in ended.err


def test_a_damaged_checkpoint(run_command: RunCommand, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")
    model = tmp_path / "copy" / "epoch_0002" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    ended = run_command("info", tmp_path / "copy")
    assert ended.code == 1
    assert "is damaged" in ended.err


def test_sizes() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 999_999, 10**6, 10**13)] == [
        "0 bytes", "999 bytes", "1.0 kB", "1000.0 kB", "1.0 MB", "10.0 TB",
    ]  # fmt: skip
