"""Side by side: every round samples every contender, so that a slow minute is slow for all.

A sample is one or more calls in a row, on batches that go round through all contenders' calls, so
that no one finds its batch in a cache because the one before it has just read it.  The order is
reversed in every other round.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Protocol

import numpy as np

from bench.record import Timing

__all__ = ["Budget", "Clock", "CpuClock", "Run", "WallClock", "Watch", "interleave", "speedups"]

Run = Callable[[int], object]


class Clock(Protocol):
    """Measures calls; ``name`` is that of the Timing."""

    name: str

    def seconds(self, run: Run, first: int, count: int) -> float:
        """Seconds of ``run(first) .. run(first + count - 1)`` together."""


class Watch(Protocol):
    """What looks at the machine while contenders are measured."""

    def sample(self) -> None:
        """Once per round."""


class WallClock:
    """Wall time of the calling thread."""

    name = "wall"

    def seconds(self, run: Run, first: int, count: int) -> float:
        """See Clock."""
        start = time.perf_counter_ns()
        for i in range(first, first + count):
            run(i)
        return (time.perf_counter_ns() - start) * 1e-9


class CpuClock:
    """Processor time of the calling thread, or of the process where it keeps other threads busy.

    A contender that is told to use one thread and uses more pays for all of them.
    """

    name = "cpu"

    def seconds(self, run: Run, first: int, count: int) -> float:
        """See Clock."""
        process, thread = time.process_time_ns(), time.thread_time_ns()
        for i in range(first, first + count):
            run(i)
        spent = time.thread_time_ns() - thread
        in_all = time.process_time_ns() - process
        return max(spent, in_all if in_all > 1.2 * spent + 1e6 else 0) * 1e-9


@dataclass(frozen=True)
class Budget:
    """How long to measure.

    Attributes:
        sample_seconds: calls are repeated until a sample takes about this long.
        seconds: of all samples of one contender.
        min_samples, max_samples: per contender.
        slow_seconds: a contender whose call takes longer is sampled once, cold.
        warm: call once, unmeasured, before each sample of several calls, so that nobody pays for
            what the one before has driven out of the caches.
    """

    sample_seconds: float = 0.005
    seconds: float = 2.0
    min_samples: int = 5
    max_samples: int = 60
    slow_seconds: float = 3.0
    warm: bool = False

    def plan(self, call_seconds: float) -> tuple[int, int]:
        """(calls per sample, samples) of a contender whose call takes ``call_seconds``."""
        calls = max(1, math.ceil(self.sample_seconds / max(call_seconds, 1e-9)))
        wanted = int(self.seconds / max(calls * call_seconds, 1e-9))
        return calls, max(self.min_samples, min(wanted, self.max_samples))


def interleave(
    runs: Mapping[str, Run], clock: Clock, threads: int, budget: Budget, *watches: Watch
) -> dict[str, Timing]:
    """Times the runs against each other.

    Args:
        runs: contender -> call on batch i; i grows without end.
        clock: what to read.
        threads: noted in the timings; the caller has set them.
        budget: how long.
        watches: each asked for a sample once per round.

    Returns:
        contender -> Timing, with speedups over every other one.
    """
    batch = 0
    plans: dict[str, tuple[int, int]] = {}
    samples: dict[str, dict[int, float]] = {name: {} for name in runs}
    for name, run in runs.items():
        cold = clock.seconds(run, batch, 1)
        batch += 1
        if cold > budget.slow_seconds:
            samples[name][0] = cold
            plans[name] = (1, 0)
            continue
        warm = min(clock.seconds(run, batch + i, 1) for i in range(2))
        batch += 2
        plans[name] = budget.plan(warm)
    rounds = max((count for _, count in plans.values()), default=0)
    for number in range(rounds):
        order = list(runs) if number % 2 == 0 else list(runs)[::-1]
        for name in order:
            calls, count = plans[name]
            # Evenly spread: contenders with fewer samples sit out some rounds.
            if (number * count) // rounds == ((number + 1) * count) // rounds:
                continue
            if budget.warm and calls > 1:
                runs[name](batch)
            samples[name][number] = clock.seconds(runs[name], batch, calls) / calls
            batch += calls
        for watch in watches:
            watch.sample()
    return {
        name: _timing(clock.name, threads, found, speedups(name, samples))
        for name, found in samples.items()
    }


def speedups(name: str, samples: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """How many times faster ``name`` is than each other one: median over their common rounds.

    >>> speedups("a", {"a": {0: 1.0, 1: 2.0, 2: 1.0}, "b": {0: 3.0, 1: 6.0}})
    {'b': 3.0}
    """
    own = samples[name]
    found = {}
    for other, theirs in samples.items():
        if other == name or not own or not theirs:
            continue
        common = own.keys() & theirs.keys()
        if common and len(theirs) > 1:
            found[other] = median(theirs[r] / own[r] for r in common)
        else:  # one of them was sampled once, cold
            found[other] = median(theirs.values()) / median(own.values())
    return found


def _timing(
    clock: str, threads: int, samples: Mapping[int, float], speedup: dict[str, float]
) -> Timing:
    low, middle, high = np.quantile(list(samples.values()), [0.2, 0.5, 0.8]).tolist()
    return Timing(clock, threads, middle, low, high, len(samples), speedup)
