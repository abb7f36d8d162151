"""The training suite end to end, on few rows and epochs; nothing about how long anything takes."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.peers.pca_residual_quantizer import stage_bits
from bench.peers.whole_run import Measured, WholeRun
from bench.record import Record, Row
from bench.suites import training
from bench.suites.training import TrainingWorkload, measure, workloads
from bench.suites.training_process import Failed, launch

FIGURES = {
    "seconds whole process",
    "CPU seconds",
    "seconds of imports",
    "seconds to data ready",
    "seconds of analysis",
    "seconds to first step",
    "seconds per epoch",
    "peak memory MB",
    "bits per row",
    "held-out MSE",
    "held-out MSE, worst category",
    "target all: MSE",
    "target all: seconds",
    "target spinlock: MSE",
}


@pytest.fixture
def tiny(tmp_path: Path) -> TrainingWorkload:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "dataset_path: builtin:seed_shape\n"
        "training: {batch_size: 100, category_assignment: families}\n",
        encoding="utf-8",
    )
    return TrainingWorkload("tiny", config, epochs=2, rows=500)


def test_both_networks_report_every_figure(tiny: TrainingWorkload, tmp_path: Path) -> None:
    own, loop = measure(tiny, threads=1, rounds=1, peers=["module"])
    assert (own.contender, loop.contender) == ("spinlock", "module_loop")
    for row in (own, loop):
        assert row.status == "ok", row.note
        assert set(row.figures) >= FIGURES
        assert all(math.isfinite(value) and value >= 0 for value in row.figures.values())
        assert [timing.clock for timing in row.timings] == ["wall", "cpu"]
        assert "400 + 100 rows x 118, 7 categories, 2 epochs, residual" in row.shape
    assert loop.figures["loss difference over 5 steps"] <= 1e-4
    assert own.figures["bits per row"] == loop.figures["bits per row"]
    assert own.timings[0].speedup.keys() == {"module_loop"}
    assert "epochs, times faster than module_loop" in own.figures
    path = tmp_path / "record.json"
    path.write_text(Record("", {}, {}, [], [own, loop]).to_json(), encoding="utf-8")
    assert Record.load(path).rows == [own, loop]


@pytest.mark.skipif(find_spec("faiss") is None, reason="faiss is not installed")
def test_pca_and_a_residual_quantizer_spend_the_same_bits(tiny: TrainingWorkload) -> None:
    own, peer = measure(tiny, threads=1, rounds=1, peers=["pca-rq-4"])
    assert peer.status == "ok", peer.note
    assert 0 <= own.figures["bits per row"] - peer.figures["bits per row"] < 1
    assert 0 < peer.figures["held-out MSE"] < 1
    assert peer.figures["target all: seconds"] > 0
    assert "PCA to 64 dims, 4-bit stages" in peer.note
    assert "seconds per epoch" not in peer.figures


def test_a_peer_with_other_losses_has_no_speed(
    tiny: TrainingWorkload, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = launch

    def checked(module: str, arguments: list[str], threads: int) -> object:
        if "--check" in arguments:
            raise Failed("BenchError: expected spinlock's losses")
        return real(module, arguments, threads)

    monkeypatch.setattr(training, "launch", checked)
    own, loop = measure(tiny, threads=1, rounds=1, peers=["module"])
    assert (own.status, loop.status) == ("ok", "wrong")
    assert not loop.timings
    assert own.timings[0].speedup == {}


def test_what_is_missing_or_fails_is_a_row(
    tiny: TrainingWorkload, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(module: str, *_: object) -> object:
        raise Failed(f"exit code 2: {module}")

    monkeypatch.setattr(training, "launch", failing)
    monkeypatch.setattr(training, "find_spec", lambda _: None)
    rows: list[Row] = measure(tiny, threads=1, rounds=2)
    statuses = [row.status for row in rows]
    assert statuses == ["failed", "wrong", "missing", "missing", "missing"]
    assert rows[2].note == "not installed: pip install faiss-cpu"


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(Failed, match="no-such-file"):
        launch("bench.suites.training_run", ["--config", "no-such-file.yaml"], 1)


def test_a_report_survives_json() -> None:
    run = WholeRun({"end": 2.0}, [Measured(1.0, 0.5, 0.1)], [0.5], 8.0, 4, 1, 3, None, "note")
    assert WholeRun.from_json(run.to_json()) == run


def test_stages_use_whole_bits() -> None:
    assert sum(stage_bits(94.57)) == 94
    assert stage_bits(16.0) == [8, 8]
    assert stage_bits(10.9, 4) == [4, 4, 2]


def test_full_mode_trains_both_forms() -> None:
    assert [w.hierarchy for w in workloads(quick=False)] == ["residual", "independent"]
    assert [w.epochs for w in workloads(quick=True)] == [3]
