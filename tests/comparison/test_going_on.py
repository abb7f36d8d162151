"""Rows that survive: going on where a comparison was stopped, and what must not be mixed."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comparing import Heard, plain, settings
from spinlock.comparison import contenders, runner
from spinlock.comparison.plans import changed
from spinlock.comparison.record import ComparisonRecord
from spinlock.comparison.rows import Row
from spinlock.comparison.runner import compare
from spinlock.comparison.summary import summarise
from spinlock.config import TrainConfig
from spinlock.errors import ConfigError, SpinlockError
from spinlock.training.checkpoint import read_run
from spinlock.training.interrupts import Terminated


def test_nothing_is_computed_twice(config: TrainConfig, tmp_path: Path) -> None:
    first = compare(config, settings(num_seeds=1), tmp_path / "out")
    again, more = Heard(), Heard()
    compare(config, settings(num_seeds=1), tmp_path / "out", listener=again)
    assert again.begun == []
    wider = settings(strategies="uniform,dimensionality,variance")
    record = compare(config, wider, tmp_path / "out", listener=more)
    assert more.begun == ["variance 0", "uniform 1", "dimensionality 1", "variance 1"]
    for key, row in first.rows.items():
        assert record.rows[key].to_dict() == row.to_dict()
    fresh = Heard()
    compare(config, settings(num_seeds=1), tmp_path / "out", listener=fresh, fresh=True)
    assert len(fresh.rows) == 2
    assert not (tmp_path / "out" / "runs").exists()


def test_runs_that_cannot_be_removed_are_not_taken_for_new_ones(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(16, "Device or resource busy", str(path))

    compare(config, settings(num_seeds=1), tmp_path / "out", keep_models=True)
    record = (tmp_path / "out" / "compare.json").read_bytes()
    monkeypatch.setattr(runner.shutil, "rmtree", busy)
    with pytest.raises(SpinlockError, match=r"--fresh: cannot remove .*runs' \(Device or res"):
        compare(config, settings(num_seeds=1), tmp_path / "out", fresh=True)
    assert (tmp_path / "out" / "compare.json").read_bytes() == record


def test_a_record_that_cannot_be_read_is_said_to_be_just_that(
    config: TrainConfig, tmp_path: Path
) -> None:
    (tmp_path / "compare.json").mkdir()
    with pytest.raises(ConfigError, match=r"cannot read '.*compare.json' \(Is a directory\)"):
        compare(config, settings(), tmp_path)


def test_a_comparison_that_is_killed_goes_on_and_ends_the_same(
    config: TrainConfig, tmp_path: Path
) -> None:
    whole = compare(config, settings(), tmp_path / "whole")

    class Killed(Heard):
        def on_row(self, record: ComparisonRecord, row: Row) -> None:
            super().on_row(record, row)
            if len(self.rows) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(config, settings(), tmp_path / "out", listener=Killed())
    rest = Heard()
    record = compare(config, settings(), tmp_path / "out", listener=rest)
    assert rest.begun == ["uniform 1", "dimensionality 1"]
    assert [plain(row) for row in record.wanted] == [plain(row) for row in whole.wanted]


@pytest.mark.parametrize("name", ["uniform", "fsq"])
@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_what_stops_a_training_stops_the_comparison(
    name: str,
    number: signal.Signals,
    raised: type[KeyboardInterrupt],
    config: TrainConfig,
    tmp_path: Path,
) -> None:
    class Signalled(Heard):
        def on_epoch_end(self, record: Any) -> None:
            del record
            if self.begun[-1] == f"{name} 0":
                os.kill(os.getpid(), number)

    wanted = settings(strategies="uniform", peers="fsq", num_seeds=1)
    with pytest.raises(KeyboardInterrupt) as stop:
        compare(config, wanted, tmp_path / "out", listener=Signalled())
    assert stop.type is raised


def test_a_training_that_is_stopped_continues_from_its_checkpoint(
    config: TrainConfig, tmp_path: Path
) -> None:
    whole = compare(config, settings(num_seeds=1), tmp_path / "whole")

    class Stopped(Heard):
        def on_epoch_end(self, record: Any) -> None:
            if record.epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(config, settings(num_seeds=1), tmp_path / "out", listener=Stopped())
    run = tmp_path / "out" / "runs" / "uniform-seed-0"
    assert read_run(run / "epoch_0001").history[-1].epoch == 1

    epochs: list[int] = []

    class Watching(Heard):
        def on_epoch_end(self, record: Any) -> None:
            epochs.append(record.epoch)

    record = compare(config, settings(num_seeds=1), tmp_path / "out", listener=Watching())
    assert epochs == [2, 1, 2]  # uniform goes on after its first epoch
    assert [plain(row) for row in record.wanted] == [plain(row) for row in whole.wanted]


def test_other_conditions_are_refused_and_named(config: TrainConfig, tmp_path: Path) -> None:
    compare(config, settings(num_seeds=1), tmp_path / "out")
    longer = changed(config, training={"num_epochs": 3})
    with pytest.raises(ConfigError, match=r"training.num_epochs was 2, now 3.*--fresh"):
        compare(longer, settings(num_seeds=1), tmp_path / "out")
    with pytest.raises(ConfigError, match="bits was None, now 30"):
        compare(config, settings(num_seeds=1, bits=30.0), tmp_path / "out")


def test_other_data_are_refused(config: TrainConfig, tmp_path: Path) -> None:
    compare(config, settings(num_seeds=1), tmp_path / "out")
    arrays = dict(np.load(config.dataset_path))
    np.savez(config.dataset_path, **{**arrays, "shape": arrays["shape"] + 1})
    more = settings(num_seeds=1, strategies="uniform,variance")
    with pytest.raises(ConfigError, match="other data"):
        compare(config, more, tmp_path / "out")


@pytest.mark.parametrize("text", ["{}", "years of work", '{"made_by": "me"}', "[1]"])
def test_foreign_files_are_kept(config: TrainConfig, tmp_path: Path, text: str) -> None:
    (tmp_path / "compare.json").write_text(text)
    for fresh in (False, True):
        with pytest.raises(ConfigError, match="not written by spinlock compare"):
            compare(config, settings(), tmp_path, fresh=fresh)
    assert (tmp_path / "compare.json").read_text() == text


def test_a_damaged_record_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    record = compare(config, settings(num_seeds=1), tmp_path / "out")
    tree = json.loads(record.path.read_text())
    del tree["rows"][0]["metrics"]["category_mse"]
    record.path.write_text(json.dumps(tree))
    with pytest.raises(ConfigError, match="is damaged"):
        compare(config, settings(num_seeds=1), tmp_path / "out")
    record.path.write_text(json.dumps(tree | {"format": 99}))
    with pytest.raises(ConfigError, match="format 99"):
        compare(config, settings(num_seeds=1), tmp_path / "out")


def test_a_missing_faiss_is_a_row_that_says_so(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "load_faiss", lambda: None)
    asked = settings(strategies="uniform", peers="joint_rq", num_seeds=1)
    record = compare(config, asked, tmp_path / "out")
    row = record.rows["joint_rq", 0, None]
    assert row.metrics is None
    assert row.note == "faiss is not installed: pip install faiss-cpu"
    assert summarise(asked, list(record.rows.values()))[1].note == row.note
    monkeypatch.undo()
    pytest.importorskip("faiss", reason="faiss is not installed")
    retried = Heard()
    compare(config, asked, tmp_path / "out", listener=retried)
    assert retried.begun == ["joint_rq 0"]


def test_two_comparisons_do_not_share_a_folder(config: TrainConfig, tmp_path: Path) -> None:
    with (
        runner._held(tmp_path / "out"),
        pytest.raises(SpinlockError, match="another one is writing"),
    ):
        compare(config, settings(), tmp_path / "out")
