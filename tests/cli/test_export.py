"""``spinlock export``: files for machines without spinlock."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnosis_models import trained
from spinlock.tokens import export as exporting
from spinlock.training.checkpoint import load_model

RunCommand = Callable[..., Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    trained(folder, {"shape": 3}, model={"num_levels": 2})
    return folder / "run"


def test_a_folder(run_command: RunCommand, run: Path, tmp_path: Path) -> None:
    ended = run_command("export", run, "-o", "out")
    assert ended.code == 0, ended.err
    names = ["encoder.pt2", "decoder.pt2", "codebooks.safetensors", "contract.json"]
    assert ended.out.split() == [f"out/{name}" for name in names]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(names)
    assert "making encoder.pt2" in ended.err
    contract = json.loads((tmp_path / "out" / "contract.json").read_bytes())
    assert contract["contract"] == load_model(run).contract.to_dict()
    again = run_command("export", run, "-o", "out")
    assert again.code == 2
    assert "'out/encoder.pt2' is there already" in again.err


def test_one_file(run_command: RunCommand, run: Path, tmp_path: Path) -> None:
    ended = run_command("export", run, "--output", "codes.npz", "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "codes.npz\n", "")
    with np.load(tmp_path / "codes.npz") as arrays:
        assert set(arrays) == {"shape/L0", "shape/L1", "contract"}
    assert run_command("export", run, "-o", "codes.npz", "--overwrite", "-q").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-o", "x.pt2"], 2, "--part"),
        (["-o", "x.onnx"], 2, "expected a folder or a file that ends in"),
        (["-o", "x.npz", "--part", "encoder"], 2, "--part is for .pt2 files"),
        ([], 2, "--output"),
    ],
)
def test_wrong_usage(
    arguments: list[str], code: int, says: str, run_command: RunCommand, run: Path
) -> None:
    ended = run_command("export", run, *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_no_checkpoint(run_command: RunCommand, tmp_path: Path) -> None:
    ended = run_command("export", "nowhere", "-o", "x.npz")
    assert ended.code == 1
    assert "holds no checkpoint" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(
    run_command: RunCommand, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    ended = run_command("export", run, "-o", "file/x.npz")
    assert ended.code == 1
    assert "could not write 'file/x.npz'" in ended.err


def test_a_wrong_program_is_not_written(
    run_command: RunCommand, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = exporting.TokenDecoder.forward
    monkeypatch.setattr(exporting.TokenDecoder, "forward", lambda self, t: decode(self, t) + 1)
    ended = run_command("export", run, "-o", "x.pt2", "--part", "decoder")
    assert ended.code == 1
    assert "gives other rows than the codec: nothing was written" in ended.err
    assert list(tmp_path.iterdir()) == []
