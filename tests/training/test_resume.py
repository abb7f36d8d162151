"""Stopping and going on: the same weights, the same run, the same data, or a refusal."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spinlock.config import TrainConfig, make_config
from spinlock.errors import CheckpointError, ConfigError, DataError
from spinlock.training import pipeline
from spinlock.training.callbacks import Callback, Event
from spinlock.training.checkpoint import find_checkpoint
from spinlock.training.folder import RunDirectory
from spinlock.training.pipeline import TrainResult, train
from spinlock.training.run_lock import RunLock

MakeConfig = Callable[..., TrainConfig]


class Signal(Callback):
    """Sends itself signals after given steps."""

    def __init__(self, *steps: int, number: signal.Signals = signal.SIGINT) -> None:
        self.steps = steps
        self.number = number
        self.count = 0
        self.events: list[Event] = []

    def on_step_end(self, epoch: int, step: int) -> None:
        del epoch, step
        self.count += 1
        if self.count in self.steps:
            os.kill(os.getpid(), self.number)

    def on_event(self, event: Event) -> None:
        self.events.append(event)


class Crash(Callback):
    """Stands for a crash after a number of steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_step_end(self, epoch: int, step: int) -> None:
        del epoch, step
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def assert_same(a: TrainResult, b: TrainResult) -> None:
    for name in ("model.safetensors", "training_state.safetensors", "preprocessing.safetensors"):
        assert (a.checkpoint / name).read_bytes() == (b.checkpoint / name).read_bytes(), name
    ours, theirs = a.model.state_dict(), b.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for x, y in zip(a.history, b.history, strict=True):
        assert x.to_dict() | {"seconds": 0} == y.to_dict() | {"seconds": 0}


@pytest.fixture
def whole(make_config: MakeConfig, tmp_path: Path) -> TrainResult:
    """The run that nothing stops; 4 epochs of 4 steps."""
    return train(make_config(training={"checkpoint_dir": str(tmp_path / "whole")}))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("after", "name"),
    [(6, "epoch_0001_step_000002"), (8, "epoch_0002"), (1, "epoch_0000_step_000001")],
)
def test_a_signal_saves_and_resuming_ends_the_same(
    make_config: MakeConfig, whole: TrainResult, number: signal.Signals, after: int, name: str
) -> None:
    config = make_config(training={"checkpoint_every_n_epochs": 3})
    callback = Signal(after, number=number)
    stopped = train(config, callbacks=[callback])
    assert stopped.interrupted
    assert stopped.checkpoint.name == name
    assert callback.events[-1].kind == "interrupted"
    assert number.name in callback.events[-1].message
    assert f"--resume {stopped.checkpoint}" in callback.events[-1].message
    resumed = Signal()
    result = train(config, resume="latest", callbacks=[resumed])
    assert "resumed" in [event.kind for event in resumed.events]
    assert not result.interrupted
    assert_same(whole, result)


def test_a_second_signal_aborts_at_once(make_config: MakeConfig, tmp_path: Path) -> None:
    callback = Signal(5)

    class Twice(Callback):
        def on_step_end(self, epoch: int, step: int) -> None:
            del step
            if epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(make_config(), callbacks=[callback, Twice()])
    assert (tmp_path / "run" / "latest").read_text() == "epoch_0001\n"


@pytest.mark.parametrize("crashes", [[5], [2, 7, 4]])
def test_after_crashes_the_run_ends_the_same(
    make_config: MakeConfig, whole: TrainResult, tmp_path: Path, crashes: list[int]
) -> None:
    config = make_config()
    for steps in crashes:
        latest = (tmp_path / "run" / "latest").exists()
        with pytest.raises(KeyboardInterrupt):
            train(config, resume="latest" if latest else None, callbacks=[Crash(steps)])
    assert_same(whole, train(config, resume=tmp_path / "run"))


def test_a_crash_before_the_pointer_is_cleaned_up(
    make_config: MakeConfig, whole: TrainResult, tmp_path: Path
) -> None:
    config = make_config()
    train(config)
    run = tmp_path / "run"
    (run / "latest").write_text("epoch_0002\n")
    (run / "best").unlink()
    (run / ".writing-epoch_0005-1").mkdir()
    result = train(config, resume="latest")
    assert_same(whole, result)
    assert not list(run.glob(".writing-*"))
    assert (run / "best").read_text().strip() == result.best_checkpoint.name


def test_a_finished_run_stays_finished(make_config: MakeConfig) -> None:
    config = make_config()
    first = train(config)
    callback = Signal()
    again = train(config, resume="latest", callbacks=[callback])
    assert callback.count == 0
    assert "already finished" in callback.events[-1].message
    assert again.checkpoint == first.checkpoint
    assert again.metrics == first.metrics
    assert again.best_checkpoint == first.best_checkpoint
    assert_same(first, again)


def test_early_stopping_continues(make_config: MakeConfig, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "num_epochs": 20, "early_stopping_patience": 3, "early_stopping_min_delta": 10.0,
    }  # fmt: skip
    whole = train(make_config(training={**settings, "checkpoint_dir": str(tmp_path / "whole")}))
    assert len(whole.history) == 4
    config = make_config(training=settings)
    assert train(config, callbacks=[Signal(9)]).interrupted
    assert_same(whole, train(config, resume="latest"))
    assert_same(whole, train(config, resume="latest"))


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"training": {"num_epochs": 5}}, "training.num_epochs"),
        ({"training": {"learning_rate": 1e-3}}, "training.learning_rate"),
        ({"model": {"dropout": 0.1}}, "model.dropout"),
        ({"random_seed": 1}, "random_seed"),
        ({"model": {"compression_ratios": [0.5, 1.0, 1.5]}}, "model.compression_ratios"),
        ({"feature_cleaning": {"outlier_method": "none"}}, "feature_cleaning.outlier_method"),
    ],
)
def test_another_configuration_is_refused(
    make_config: MakeConfig, sections: dict[str, Any], key: str
) -> None:
    train(make_config(), callbacks=[Signal(5)])
    with pytest.raises(ConfigError, match=rf"(?s){key} was .*now .*without --resume"):
        train(make_config(**sections), resume="latest")


def test_what_moves_no_weight_may_differ(
    make_config: MakeConfig, whole: TrainResult, tmp_path: Path
) -> None:
    train(make_config(), callbacks=[Signal(5)])
    moved = tmp_path / "moved.npz"
    (tmp_path / "data.npz").rename(moved)
    config = make_config()
    free = {"checkpoint_every_n_epochs": 2, "keep_checkpoints": 1}
    config = make_config(dataset_path=str(moved), training=free)
    result = train(config, resume="latest")
    for name in ("model.safetensors", "training_state.safetensors"):
        assert (whole.checkpoint / name).read_bytes() == (result.checkpoint / name).read_bytes()


def test_a_tilde_in_resume_is_the_home_directory(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    finished = train(make_config(training={"num_epochs": 1}))
    assert train(finished.prepared.config, resume="~/run").checkpoint == finished.checkpoint
    with pytest.raises(ConfigError, match="resume: '~no-such-user/x' names a home directory"):
        train(make_config(), resume="~no-such-user/x")


def test_the_saved_configuration_resumes_as_well(
    make_config: MakeConfig, whole: TrainResult
) -> None:
    stopped = train(make_config(), callbacks=[Signal(5)])
    assert_same(whole, train(stopped.prepared.config, resume=stopped.checkpoint))


@pytest.mark.parametrize(
    ("change", "message"), [("value", "values differ"), ("name", "columns differ")]
)
def test_other_data_are_refused(
    make_config: MakeConfig, tmp_path: Path, change: str, message: str
) -> None:
    config = make_config()
    train(config, callbacks=[Signal(5)])
    with np.load(tmp_path / "data.npz") as file:
        arrays = dict(file)
    if change == "value":
        arrays["shape"][0, 0] += 1e-3
    else:
        arrays["form"] = arrays.pop("shape")
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError, match=message):
        train(config, resume="latest")


def test_an_older_checkpoint_needs_another_directory(
    make_config: MakeConfig, whole: TrainResult, tmp_path: Path
) -> None:
    train(make_config())
    older = tmp_path / "run" / "epoch_0002"
    with pytest.raises(CheckpointError, match=r"epoch_0004.*--output"):
        train(make_config(), resume=older)
    branch = make_config(training={"checkpoint_dir": str(tmp_path / "branch")})
    result = train(branch, resume=older)
    assert result.checkpoint == tmp_path / "branch" / "epoch_0004"
    model = "model.safetensors"
    assert (result.checkpoint / model).read_bytes() == (whole.checkpoint / model).read_bytes()
    assert (tmp_path / "run" / "latest").read_text() == "epoch_0004\n"


def test_a_finished_checkpoint_that_latest_never_named_is_kept(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config()
    first = train(config)
    (tmp_path / "run" / "latest").write_text("epoch_0003\n")
    again = train(config, resume=first.checkpoint)
    assert again.checkpoint == first.checkpoint
    assert_same(first, again)
    assert (tmp_path / "run" / "latest").read_text() == "epoch_0004\n"


@pytest.mark.parametrize("lost", ["latest", "epoch_0004"])
def test_a_lost_pointer_or_checkpoint_overwrites_nothing(
    make_config: MakeConfig, whole: TrainResult, tmp_path: Path, lost: str
) -> None:
    config, run = make_config(training={"keep_checkpoints": 9}), tmp_path / "run"
    train(config)
    (run / "latest").unlink() if lost == "latest" else shutil.rmtree(run / lost)
    newest = RunDirectory(run).checkpoints()[-1]
    with pytest.raises(CheckpointError, match=rf"{newest}.*epoch_0002.*--output"):
        train(config, resume=run / "epoch_0002")
    assert_same(whole, train(config, resume=run / newest))
    assert (run / "latest").read_text() == "epoch_0004\n"


def test_ratios_are_not_measured_anew_in_a_resumed_run(make_config: MakeConfig) -> None:
    train(make_config(), callbacks=[Signal(5)])
    with pytest.raises(ConfigError, match="--recompute-ratios"):
        train(make_config(), resume="latest", recompute_ratios=True)


def test_nothing_to_resume_is_named(make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        train(make_config(), resume="latest")
    assert not (tmp_path / "run").exists()


def test_a_lost_pointer_is_answered_with_the_newest_folder(tmp_path: Path) -> None:
    for name in ("epoch_0001", "epoch_0010"):
        (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=r"no file 'latest' .* such as '.*epoch_0010'"):
        find_checkpoint(tmp_path)


def test_a_resumed_run_holds_its_directory_before_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run that ends in between would lose the checkpoint that it wrote last."""
    (tmp_path / "run").mkdir()

    def read(*_: object) -> None:
        with pytest.raises(CheckpointError, match="another run"):
            RunLock().acquire(tmp_path / "run")
        raise CheckpointError("looked")

    monkeypatch.setattr(pipeline, "read_to_continue", read)
    config = make_config(
        {
            "dataset_path": "builtin:digits",
            "training": {"checkpoint_dir": str(tmp_path / "run")},
        }
    )
    with pytest.raises(CheckpointError, match="looked"):
        train(config, resume="latest")
