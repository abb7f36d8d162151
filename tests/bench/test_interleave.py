"""Sampling side by side: who is sampled when, on which batch, and what ratios come out."""

from statistics import median

import pytest

from bench.measure.interleave import Budget, CpuClock, Run, WallClock, interleave, speedups
from bench.measure.noise import NoiseWatch


class FakeClock:
    """Advances by what a run says that it took."""

    name = "cpu"

    def seconds(self, run: Run, first: int, count: int) -> float:
        return sum(float(run(i)) for i in range(first, first + count))  # type: ignore[arg-type]


def test_every_round_samples_everybody_in_alternating_order() -> None:
    order: list[str] = []
    batches: list[int] = []

    def taking(name: str, seconds: float) -> Run:
        def run(i: int) -> float:
            order.append(name)
            batches.append(i)
            return seconds

        return run

    budget = Budget(sample_seconds=0.01, seconds=0.1, min_samples=2, max_samples=4)
    runs = {"a": taking("a", 0.01), "b": taking("b", 0.02)}
    with NoiseWatch() as watch:
        timings = interleave(runs, FakeClock(), 1, budget, watch)
    assert order == ["a"] * 3 + ["b"] * 3 + ["a", "b", "b", "a"] * 2
    assert batches == list(range(len(batches)))
    assert timings["a"].samples == timings["b"].samples == 4
    assert timings["a"].speedup == {"b": pytest.approx(2.0)}
    assert timings["b"].speedup == {"a": pytest.approx(0.5)}
    assert (timings["a"].median, timings["a"].spread) == (pytest.approx(0.01), 0.0)


def test_short_calls_are_repeated_within_a_sample_and_long_ones_sit_rounds_out() -> None:
    assert Budget(0.005, 2.0, 5, 60).plan(0.001) == (5, 60)
    assert Budget(0.005, 2.0, 5, 60).plan(0.1) == (1, 20)
    assert Budget(0.005, 2.0, 5, 60).plan(1.0) == (1, 5)
    budget = Budget(sample_seconds=1.0, seconds=12.0, min_samples=2, max_samples=12)
    runs: dict[str, Run] = {"short": lambda _: 1.0, "long": lambda _: 2.5}
    with NoiseWatch() as watch:
        timings = interleave(runs, FakeClock(), 1, budget, watch)
    assert (timings["short"].samples, timings["long"].samples) == (12, 4)
    assert timings["short"].speedup["long"] == pytest.approx(2.5)


def test_a_warm_budget_calls_once_unmeasured_before_samples_of_several_calls() -> None:
    counts = {"short": 0, "long": 0}

    def taking(name: str, seconds: float) -> Run:
        def run(_: int) -> float:
            counts[name] += 1
            return seconds

        return run

    budget = Budget(0.01, 0.04, min_samples=2, max_samples=2, warm=True)
    runs = {"short": taking("short", 0.005), "long": taking("long", 0.02)}
    with NoiseWatch() as watch:
        interleave(runs, FakeClock(), 1, budget, watch)
    assert counts == {"short": 3 + 2 * (1 + 2), "long": 3 + 2 * 1}


def test_a_very_long_call_is_sampled_once() -> None:
    calls: list[int] = []

    def run(i: int) -> float:
        calls.append(i)
        return 9.0

    with NoiseWatch() as watch:
        runs: dict[str, Run] = {"quick": lambda _: 1.0, "slow": run}
        timings = interleave(runs, FakeClock(), 1, Budget(slow_seconds=3.0), watch)
    assert len(calls) == timings["slow"].samples == 1
    assert timings["quick"].speedup["slow"] == pytest.approx(9.0)


def test_a_ratio_is_the_median_over_common_rounds() -> None:
    samples = {"a": {0: 1.0, 1: 10.0, 2: 1.0, 3: 1.0}, "b": {1: 30.0, 3: 4.0, 2: 3.0}}
    assert speedups("a", samples) == {"b": median([3.0, 4.0, 3.0])}
    assert speedups("b", samples)["a"] == pytest.approx(1 / 3)


def test_nothing_to_run_gives_nothing() -> None:
    with NoiseWatch() as watch:
        assert interleave({}, FakeClock(), 1, Budget(), watch) == {}


def test_the_clocks_read_what_they_say() -> None:
    def idle(_: int) -> None:
        import time

        time.sleep(0.05)

    assert WallClock().seconds(idle, 0, 2) >= 0.1
    assert CpuClock().seconds(idle, 0, 2) < 0.1
