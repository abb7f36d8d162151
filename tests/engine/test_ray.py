"""Ray Data against this process: the same results bit for bit, also where workers die."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch

import ray_workers
import spinlock.data.parts as parts_module
from engine_data import config_of, shards, table_of
from spinlock.cli.main import main
from spinlock.config import dump_config
from spinlock.data import open_dataset
from spinlock.data.cleaning_passes import FiniteMoments
from spinlock.data.parts import array_parts
from spinlock.engine import Engine, map_reduce, open_engine
from spinlock.errors import ConfigError, DataError, EngineError
from spinlock.tokens.sharded import decode_shards, encode_shards
from spinlock.training.prepare import prepare
from spinlock.training.prepared import Prepared
from token_models import Trained, train_small, write_shards

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'spinlock-vq[ray]'")
pytestmark = [
    # Of Ray Data's own: its settings touch names that it has deprecated itself.
    pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """One cluster of two processors on this machine, with the smallest object store there is."""
    import ray.cloudpickle

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False
        )
        ray.cloudpickle.register_pickle_by_value(ray_workers)
        with open_engine("ray") as engine:
            yield engine
        ray.shutdown()


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets in parts of few rows."""
    monkeypatch.setattr(parts_module, "PART_ROWS", 400)


def same(a: Any, b: Any) -> None:
    """Nested states are equal to the last bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b, strict=True)
    else:
        assert a == b


def same_run(a: Prepared, b: Prepared) -> None:
    assert a.plan == b.plan
    assert a.config == b.config
    assert a.data_fingerprint == b.data_fingerprint
    same(a.preprocessing.to_state(), b.preprocessing.to_state())
    np.testing.assert_array_equal(a.train, b.train)
    np.testing.assert_array_equal(a.validation, b.validation)


def test_what_sigterm_does_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes the signal over when it starts, and would end the process at once."""

    def take_over(**_: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", take_over)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    with open_engine("ray"):
        assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("cut")
def test_the_plan_is_the_same_to_the_last_digit(engine: Engine, tmp_path: Path) -> None:
    for kind in ("parquet", "hdf5"):
        config = config_of(shards(tmp_path, kind), tmp_path)
        same_run(prepare(config), prepare(config, engine=engine))


@pytest.mark.usefixtures("cut")
def test_workers_that_die_change_nothing(engine: Engine, tmp_path: Path) -> None:
    config = config_of(shards(tmp_path, "parquet"), tmp_path)
    marks = tmp_path / "deaths"
    marks.mkdir()
    dying = ray_workers.KilledOnce(engine, marks)
    same_run(prepare(config), prepare(config, engine=dying))
    assert dying.deaths() == 4  # one for each pass


def test_rows_in_memory_and_built_in_sets_are_sent(engine: Engine) -> None:
    parts = array_parts(table_of().features, 1000)
    done: list[int] = []
    found = list(engine.map(ray_workers.process_of, parts, done.append))
    assert [rows for rows, _, _ in found] == done == [1000, 1000, 300]
    assert os.getpid() not in {process for _, process, _ in found}
    assert list(engine.map(ray_workers.process_of, [])) == []
    with open_dataset("builtin:digits") as dataset:
        ((rows, _, _),) = engine.map(ray_workers.process_of, dataset.parts())
    assert rows == 1797


@pytest.mark.usefixtures("cut")
def test_what_goes_wrong_there_is_said_here(engine: Engine, tmp_path: Path) -> None:
    config = config_of(shards(tmp_path, "parquet"), tmp_path)
    with open_dataset(config.dataset_path) as dataset:
        parts = dataset.parts()
        path = tmp_path / "parquet" / "part-2.parquet"
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(DataError, match=r"part-2\.parquet changed while it was read"):
            map_reduce(engine, parts, FiniteMoments)
    with pytest.raises(EngineError, match=r"KeyError.*part of 400 rows"):
        list(engine.map(ray_workers.fails, array_parts(table_of().features, 400)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small model and its rows."""
    torch.set_num_threads(1)
    return train_small(tmp_path_factory.mktemp("trained"))


def test_shards_are_encoded_and_decoded_as_here(
    engine: Engine, trained: Trained, tmp_path: Path
) -> None:
    data = write_shards(trained, tmp_path / "in")
    marks = tmp_path / "deaths"
    marks.mkdir()
    dying = ray_workers.KilledOnce(engine, marks)
    here = encode_shards(trained.saved, data, tmp_path / "here", labels=True)
    there = encode_shards(trained.saved, data, tmp_path / "there", labels=True, engine=dying)
    assert dying.deaths() == 1
    assert [path.name for path in there.paths] == [path.name for path in here.paths]
    for a, b in zip(here.paths, there.paths, strict=True):
        assert a.read_bytes() == b.read_bytes()
    # What the dead had finished and what they had begun: nothing is left of the latter.
    assert len(list((tmp_path / "there").iterdir())) == 3
    assert encode_shards(trained.saved, data, tmp_path / "there", labels=True).kept == 3
    rows = decode_shards(trained.saved, tmp_path / "here", tmp_path / "rows")
    back = decode_shards(trained.saved, tmp_path / "there", tmp_path / "back", engine=engine)
    for a, b in zip(rows.paths, back.paths, strict=True):
        assert parquet.read_table(a).equals(parquet.read_table(b))
    with pytest.raises(ConfigError, match=r"--device cuda: the workers of --engine ray"):
        encode_shards(trained.saved, data, tmp_path / "x", engine=engine, device="cuda")


@pytest.mark.usefixtures("cut")
def test_the_command_line_measures_there_as_here(
    engine: Engine, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engine.name == "ray"
    (tmp_path / "data").mkdir()
    data = write_shards(trained, tmp_path / "data" / "in")
    for command in (["diagnose", str(trained.folder), data], ["diagnose", str(trained.folder)]):
        found = []
        for name in ("local", "ray"):
            assert main([*command, "--engine", name, "--json"]) == 0
            found.append(json.loads(capsys.readouterr().out))
        alike(found[1], found[0])
    config = config_of(shards(tmp_path, "hdf5"), tmp_path)
    file = tmp_path / "run.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    plans = []
    for name in ("local", "ray"):
        assert main(["analyze", "--config", str(file), "--json", "--engine", name]) == 0
        plans.append(json.loads(capsys.readouterr().out))
    assert plans[0] == plans[1]


def alike(a: Any, b: Any) -> None:
    """The same but for the last digits of sums."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            alike(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            alike(one, other)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-12, abs=1e-15)
    else:
        assert a == b
