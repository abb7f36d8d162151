"""The suites ``lookup``, ``train-step``, ``backward``: one verb, all contenders, side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bench import gate
from bench.errors import Unavailable
from bench.limits.peaks import PeakWatch
from bench.measure.cuda import EventClock, GraphClock, captured
from bench.measure.interleave import Clock, CpuClock, Run, WallClock, interleave
from bench.measure.memory import peak_bytes
from bench.measure.noise import NoiseWatch
from bench.options import Options
from bench.peers.contender import Call, Contender
from bench.peers.registry import contenders
from bench.problems import Problem, make_problem, thread_count
from bench.record import Row, Timing
from bench.workloads import Workload

__all__ = ["VERBS", "measure_case", "run_backward", "run_lookup", "run_train_step"]

VERBS = {"lookup": "lookup", "train-step": "train_step", "backward": "backward"}
_RATE_KINDS = ("mean 0", "mean 1000")
# A call this long is timed once on one thread; its wall time at n would double the wait.
_ONE_PASS_SECONDS = 10.0


def run_lookup(options: Options, watch: NoiseWatch) -> Iterator[Row]:
    """Indices alone, on every workload."""
    for workload in options.workloads:
        yield from measure_case("lookup", workload, options, watch, rates=_RATE_KINDS)


def run_train_step(options: Options, watch: NoiseWatch) -> Iterator[Row]:
    """Lookup, gather, losses, statistics and refresh, on every workload."""
    for workload in options.workloads:
        yield from measure_case("train-step", workload, options, watch)


def run_backward(options: Options, watch: NoiseWatch) -> Iterator[Row]:
    """The train step with gradients, on the seed bank and on shapes of your own."""
    for workload in options.workloads:
        if workload.group in ("seed", "custom"):
            yield from measure_case("backward", workload, options, watch)


@dataclass(frozen=True)
class _Ready:
    """A contender that passed the gate."""

    contender: Contender
    call: Call
    row: Row
    call_seconds: float


def measure_case(
    suite: str,
    workload: Workload,
    options: Options,
    watch: NoiseWatch,
    *,
    rates: Sequence[str] = (),
    entrants: Sequence[Contender] | None = None,
    one_thread: bool = False,
) -> list[Row]:
    """All contenders on one workload: gate, timing, memory, wrong-index rates.

    Args:
        suite: ``lookup``, ``train-step`` or ``backward``.
        workload: the shape.
        options: settings.
        watch: of the run.
        rates: kinds of data to count wrong indices on.
        entrants: instead of all that ``options.peers`` selects.
        one_thread: leave the wall clock at n threads out.

    Returns:
        One row per contender, in printing order.
    """
    problem = make_problem(workload, options.device, past_bytes=options.cache_bytes)
    rows: dict[str, Row] = {}
    ready: list[_Ready] = []
    entered = contenders(options.peers) if entrants is None else entrants
    with thread_count(1):
        for contender in entered:
            found = _prepared(suite, contender, problem, options)
            if isinstance(found, Row):
                rows[contender.name] = found
            else:
                ready.append(found)
                rows[contender.name] = found.row
    timings, peaks = _timed(ready, problem, options, watch, one_thread=one_thread)
    for entry in ready:
        name = entry.contender.name
        with thread_count(1):
            peak = _peak(entry, options)
            wrong = (
                gate.wrong_rates(entry.contender, workload, rates, options.device) if rates else {}
            )
        rows[name] = replace(
            rows[name],
            timings=tuple(timings[name]),
            peak_bytes=peak,
            wrong=wrong,
            peaks=peaks,
        )
    return list(rows.values())


def _prepared(suite: str, contender: Contender, problem: Problem, options: Options) -> _Ready | Row:
    workload = problem.workload
    row = Row(
        suite,
        workload.name,
        contender.name,
        shape=workload.text,
        device=options.device,
        flops=workload.lookup_flops,
        bytes=workload.lookup_bytes if suite == "lookup" else workload.train_bytes,
    )
    verb = VERBS[suite]
    try:
        contender.check_available(options.device)
        if options.quick and getattr(contender, "compiles", False):
            return replace(row, status="skipped", note="compiles for minutes; run without --quick")
        seconds = _estimate(contender, verb, workload, options)
        if seconds > options.max_call_seconds:
            return replace(row, status="skipped", note=f"one call would take {seconds:.0f} s")
        call: Call = getattr(contender, verb)(problem)
        verdict = gate.check(contender, verb, problem, call)
    except Unavailable as error:
        return replace(row, status="missing", note=str(error))
    except Exception as error:  # a peer may fail in any way; the others go on
        return replace(row, status="failed", note=f"{type(error).__name__}: {error}"[:300])
    if not verdict.passed:
        return replace(row, status="wrong", note=verdict.note)
    return _Ready(contender, call, replace(row, note=verdict.note), seconds)


def _estimate(contender: Contender, verb: str, workload: Workload, options: Options) -> float:
    """Seconds that one call would take, from a call on a few of the rows."""
    if not contender.slow:
        return 0.0
    few = max(1, min(workload.num_rows, 25_000_000 // workload.code_elements))
    small = make_problem(replace(workload, num_rows=few), options.device)
    call: Call = getattr(contender, verb)(small)
    start = time.perf_counter()
    call.run(0)
    return (time.perf_counter() - start) * workload.num_rows / few


def _timed(
    ready: list[_Ready],
    problem: Problem,
    options: Options,
    watch: NoiseWatch,
    *,
    one_thread: bool,
) -> tuple[dict[str, list[Timing]], dict[str, float]]:
    timings: dict[str, list[Timing]] = {entry.contender.name: [] for entry in ready}
    runs = {entry.contender.name: entry.call.run for entry in ready}
    passes: list[tuple[Clock, int, dict[str, Run]]]
    if options.device == "cpu":
        quick = {e.contender.name: e.call.run for e in ready if e.call_seconds < _ONE_PASS_SECONDS}
        passes = [(CpuClock(), 1, runs)]
        if not one_thread and options.threads > 1:
            passes.append((WallClock(), options.threads, quick))
    else:
        graphs = _captured(runs, len(problem.batches))
        passes = [(EventClock(), 1, runs), (GraphClock(), 1, graphs)]
    peaks: dict[str, float] = {}
    for clock, threads, selected in passes:
        beside = [PeakWatch(threads)] if options.device == "cpu" else []
        with thread_count(threads):
            measured = interleave(selected, clock, threads, options.budget, watch, *beside)
        for each in beside:
            peaks |= each.peaks()
        for name, timing in measured.items():
            timings[name].append(timing)
    return timings, peaks


def _captured(runs: dict[str, Run], batches: int) -> dict[str, Run]:
    graphs: dict[str, Run] = {}
    for name, run in runs.items():
        with suppress(Unavailable):  # no graph row for it; the event row stands
            graphs[name] = captured(run, batches)
    return graphs


def _peak(entry: _Ready, options: Options) -> int | None:
    if not options.memory or entry.call_seconds > _ONE_PASS_SECONDS:
        return None
    return peak_bytes(lambda: entry.call.run(0), options.device)
