"""Peaks that are measured between the samples of contenders, and what is made of them."""

import json
from pathlib import Path

import pytest

from bench.errors import Unavailable
from bench.limits import native
from bench.limits.peaks import PeakWatch
from bench.record import Record, Row, Timing
from bench.render.goals import Goal, reached

FP32 = "fp32 FMA GFLOP/s, 1 thread"
LIMITS = {FP32: 200.0, "read GB/s from memory, 1 thread": 40.0}


class Machine:
    """A clock that halves, and no bfloat16."""

    def __init__(self) -> None:
        self.rates = [50.0, 90.0, 100.0]

    def float_gflops(self, threads: int, bursts: int, seconds: float) -> float:
        assert (threads, bursts) == (1, 1)
        assert seconds > 0.0
        return self.rates.pop()

    def bf16_gflops(self, *_: float) -> None:
        return None


def row(peaks: dict[str, float]) -> Row:
    timing = Timing("cpu", 1, 0.5, 0.4, 0.6, 9)
    return Row("lookup", "w", "spinlock cpp", timings=(timing,), flops=45e9, peaks=peaks)


def record(*rows: Row) -> Record:
    return Record("python -m bench", {}, dict(LIMITS), [], list(rows))


def test_the_median_burst_stands_under_the_name_of_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "load", Machine)
    watch = PeakWatch(1)
    assert watch.peaks() == {}
    for _ in range(3):
        watch.sample()
    assert watch.peaks() == {FP32: 90.0}


def test_without_a_compiler_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise Unavailable("no C++ compiler")

    monkeypatch.setattr(native, "load", missing)
    watch = PeakWatch(1)
    watch.sample()
    assert watch.peaks() == {}


def test_a_share_is_of_the_peak_beside_it() -> None:
    goal = Goal("lookup", "w", "spinlock cpp", 0.9, 0.95, kind="share")
    run = record(row({FP32: 100.0}))
    assert reached(goal, run) == pytest.approx(0.9)
    assert run.limits_of(run.rows[0]) == LIMITS | {FP32: 100.0}
    assert reached(goal, record(row({}))) == pytest.approx(0.45)


def test_records_without_peaks_keep_their_text(tmp_path: Path) -> None:
    old, new = record(row({})), record(row({}), row({FP32: 100.0}))
    assert "peaks" not in old.to_json()
    assert ["peaks" in each for each in json.loads(new.to_json())["rows"]] == [False, True]
    path = tmp_path / "record.json"
    path.write_text(new.to_json())
    assert Record.load(path) == new
