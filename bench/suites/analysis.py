"""What the analysis costs beside numpy, scipy and scikit-learn doing the same.

Processor time on one thread, and wall time on n where more are asked for; every round samples
every contender, the order reversed every other round; medians.  spinlock's statistics keep their
products on one thread so that results do not depend on the cores: at n threads numpy may win.

The gate: a result that differs from a plain float64 computation by more than the case allows
prints no speed, spinlock's or a peer's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from bench.measure.interleave import Clock, CpuClock, WallClock, speedups
from bench.record import Row, Timing
from bench.suites.analysis_cases import Case, cases

__all__ = ["measure", "run"]

_OWN = "spinlock"
_SAMPLE_SECONDS = 0.05


class Options(Protocol):
    """What this suite reads of a run's options."""

    @property
    def quick(self) -> bool:
        """A tenth of the rows, three rounds."""

    @property
    def threads(self) -> int:
        """Threads of the wall-clock pass."""

    @property
    def peers(self) -> list[str] | None:
        """Names or prefixes; None is every peer."""


@dataclass(frozen=True)
class _Pass:
    clock: Clock
    threads: int


def run(options: Options) -> Iterator[Row]:
    """Every case, one after the other."""
    for case in cases(options.quick):
        yield from measure(
            case, threads=options.threads, rounds=3 if options.quick else 7, peers=options.peers
        )


def measure(
    case: Case, *, threads: int = 1, rounds: int = 3, peers: list[str] | None = None
) -> list[Row]:
    """Checks every contender's result, then times those that are right against each other."""
    rows: dict[str, Row] = {}
    runs: dict[str, Callable[[], Any]] = {}
    for name, call in case.contenders.items():
        if not name.startswith(_OWN) and not _asked(name, peers):
            continue
        row = Row("analysis", case.workload, name, shape=case.shape)
        try:
            complaint = case.judge(name, call())
        except Exception as error:
            first = (str(error).splitlines() or [""])[0]
            rows[name] = _without_speed(row, "failed", f"{type(error).__name__}: {first}")
            continue
        if complaint:
            rows[name] = _without_speed(row, "wrong", complaint)
        else:
            rows[name], runs[name] = row, call
    passes = [_Pass(CpuClock(), 1)] + ([_Pass(WallClock(), threads)] if threads > 1 else [])
    timed = [_timed(runs, each, rounds) for each in passes]
    return [
        row
        if name not in runs
        else Row(
            row.suite,
            row.workload,
            name,
            shape=row.shape,
            note=case.notes.get(name, ""),
            timings=tuple(timings[name] for timings in timed),
            flops=case.flops,
            bytes=case.bytes,
        )
        for name, row in rows.items()
    ]


def _asked(name: str, peers: list[str] | None) -> bool:
    return peers is None or any(name.startswith(prefix) for prefix in peers)


def _without_speed(row: Row, status: Any, note: str) -> Row:
    return Row(row.suite, row.workload, row.contender, row.shape, status=status, note=note)


def _calls(seconds: float) -> int:
    """Calls in a sample: as many as take about 50 ms, at least one."""
    return max(1, math.ceil(_SAMPLE_SECONDS / max(seconds, 1e-6)))


def _on_any_batch(call: Callable[[], Any]) -> Callable[[int], object]:
    """What the clocks take: a call that is given the number of a batch."""
    return lambda _: call()


def _timed(runs: dict[str, Callable[[], Any]], each: _Pass, rounds: int) -> dict[str, Timing]:
    samples: dict[str, dict[int, float]] = {name: {} for name in runs}
    with threadpool_limits(each.threads):
        calls = {
            name: _calls(each.clock.seconds(_on_any_batch(call), 0, 1))
            for name, call in runs.items()
        }
        for number in range(rounds):
            for name in list(runs) if number % 2 == 0 else list(runs)[::-1]:
                spent = each.clock.seconds(_on_any_batch(runs[name]), 0, calls[name])
                samples[name][number] = spent / calls[name]
    timings = {}
    for name, found in samples.items():
        low, middle, high = np.quantile(list(found.values()), [0.2, 0.5, 0.8]).tolist()
        timings[name] = Timing(
            each.clock.name, each.threads, middle, low, high, rounds, speedups(name, samples)
        )
    return timings
