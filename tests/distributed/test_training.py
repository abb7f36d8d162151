"""Training in several processes is training in one, but for the order of sums."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from processes import in_processes
from spinlock.config import TrainConfig, dump_config
from spinlock.distributed.world import TRAFFIC, WorldError
from spinlock.training.loop import Trainer
from spinlock.training.pipeline import train

EPOCHS, BATCH, ROWS = 3, 48, 240
FORMS: dict[str, dict[str, Any]] = {
    "residual": {},
    "independent": {"model": {"hierarchy": "independent"}},
    "learnable": {"model": {"use_ema": False}},
}


def config_of(folder: Path, run: str, **sections: Any) -> TrainConfig:
    """Two families of correlated columns, some of whose codes die and are revived."""
    data = folder / "data.npz"
    if not data.exists():
        rng = np.random.default_rng(0)
        parts = {}
        for name, width in (("shape", 6), ("colour", 4)):
            factors = rng.normal(size=(ROWS, 2)) @ rng.normal(size=(2, width))
            parts[name] = (factors + 0.2 * rng.normal(size=(ROWS, width))).astype("f4")
        np.savez(data, **parts)
    small = {"group_embedding_dim": 8, "group_hidden_dim": 8, "decoder_hidden_dim": 8}
    training = {
        "num_epochs": EPOCHS,
        "batch_size": BATCH,
        "checkpoint_dir": str(folder / run),
        "checkpoint_every_n_epochs": 1,
        "category_assignment": "families",
        "dead_code_threshold": 0.5,
    }
    return TrainConfig.model_validate(
        {
            "dataset_path": str(data),
            "device": "cpu",
            "model": {**small, **sections.get("model", {})},
            "training": {**training, **sections.get("training", {})},
        }
    )


def trained(folder: str, run: str, form: dict[str, Any], resume: bool) -> dict[str, Any]:
    """What a process has at the end of a run, and what it sent."""
    before = TRAFFIC.messages
    result = train(config_of(Path(folder), run, **form), resume="latest" if resume else None)
    return {
        "state": result.model.state_dict(),
        "losses": [epoch.losses for epoch in result.history],
        "worst": result.metrics.worst_mse,
        "mean": result.metrics.mean_mse,
        "messages": TRAFFIC.messages - before,
        "checkpoint": str(result.checkpoint),
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.equal(one["state"][name], other["state"][name]) for name in one["state"])


@pytest.mark.parametrize(
    ("name", "size"), [("residual", 2), ("residual", 3), ("independent", 2), ("learnable", 2)]
)
def test_processes_train_what_one_trains(name: str, size: int, tmp_path: Path) -> None:
    form = FORMS[name]
    alone = trained(str(tmp_path), "alone", form, False)
    assert alone["messages"] == 0
    parts = in_processes(size, tmp_path, trained, str(tmp_path), "together", form, False)
    assert all(same(part, parts[0]) for part in parts)
    assert parts[0]["worst"] == pytest.approx(alone["worst"], rel=2e-2)
    for ours, theirs in zip(parts[0]["losses"], alone["losses"], strict=True):
        assert ours == pytest.approx(theirs, rel=5e-3)
    # Gradients are one message per step, statistics of all codebooks another; epochs, first codes
    # and revivals take some more.
    steps = EPOCHS * (int(ROWS * 0.9) // BATCH)
    per_step = 1 if name == "learnable" else 2
    assert steps * per_step <= parts[0]["messages"] <= steps * per_step + 12 * EPOCHS


@pytest.mark.long
def test_a_killed_process_ends_the_run_which_resumes_to_the_same_bits(tmp_path: Path) -> None:
    long = {"training": {"num_epochs": 40}, "model": {"dropout": 0.1}}
    whole = _torchrun(tmp_path, "whole", long)
    killed = _torchrun(tmp_path, "killed", long)
    latest = tmp_path / "killed" / "latest"
    _until(latest.exists)
    os.kill(_children(killed.pid)[-1], signal.SIGKILL)
    said = _said(killed)
    assert killed.returncode != 0
    # The other process misses this one, or is stopped by torchrun, which may notice first.
    assert said.count("error:") + said.count("stopped by SIGTERM") == 1, said
    assert "--resume" in said
    assert latest.resolve().name != "epoch_0040"
    shutil.copytree(tmp_path / "killed", tmp_path / "fewer", symlinks=True)
    again = _torchrun(tmp_path, "killed", long, "--resume")
    # In one process sums are rounded in another order, and dropout is drawn otherwise.
    rest = trained(str(tmp_path), "fewer", long, True)
    for run in (whole, again):
        said = _said(run)
        assert run.returncode == 0, said
    one, other = (tmp_path / run / "epoch_0040" for run in ("whole", "killed"))
    names = sorted(path.name for path in one.glob("*.safetensors"))
    assert names
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert rest["checkpoint"].endswith("epoch_0040")
    metrics = json.loads((one / "metrics.json").read_text(encoding="utf-8"))
    assert rest["worst"] == pytest.approx(metrics["metrics"]["worst_mse"], rel=0.1)
    assert rest["mean"] == pytest.approx(metrics["metrics"]["mean_mse"], rel=0.1)


def test_a_process_lost_while_a_checkpoint_is_told_of_leaves_it_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: Trainer, _interrupt: object) -> bool:
        assert self.saver is not None
        self.saver.save(self, best=False)
        raise WorldError("the connection to another process is lost")

    monkeypatch.setattr(Trainer, "run", lost)
    with pytest.raises(WorldError, match=r"epoch_0000\S*' is intact: .* --resume"):
        train(config_of(tmp_path, "lost"))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _torchrun(folder: Path, run: str, form: dict[str, Any], *more: str) -> subprocess.Popen[str]:
    path = folder / f"{run}.yaml"
    path.write_text(dump_config(config_of(folder, run, **form)), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "spinlock", "train-vqvae", "--config", str(path)]
    return subprocess.Popen(
        [*command, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _said(run: subprocess.Popen[str]) -> str:
    with run:
        try:
            return run.communicate(timeout=120)[0]
        except subprocess.TimeoutExpired:
            for process in (*_children(run.pid), run.pid):  # or the block would wait for them
                os.kill(process, signal.SIGKILL)
            raise


def _children(pid: int) -> list[int]:
    """The processes that torchrun has started, oldest first."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    return sorted(map(int, listed.split()))
