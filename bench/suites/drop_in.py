"""The suite ``drop-in``: quantizers as other people's models use them, in time and peak memory.

A ``lookup`` is the module in eval mode: quantized rows, indices and loss.  A ``train step`` is its
forward in training mode, with the update of its codes, and the gradient of its input.  Peak memory
is that of one call in a process of its own, which has made the same call on a few rows before; the
result of a lookup, and whatever autograd keeps for a train step, are in it.

The gate: level by level, given the rows that the contender's own codes left, its indices are the
nearest codes in float64; quantized rows, losses, updated codes and gradients follow from them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.errors import Unavailable
from bench.measure.cuda import EventClock
from bench.measure.interleave import Clock, CpuClock, Run, WallClock, interleave
from bench.measure.memory import peak_bytes, unknown_because
from bench.measure.noise import NoiseWatch
from bench.options import Options
from bench.peers.contender import EMA, Call, Outcome
from bench.problems import thread_count
from bench.record import Row, Timing
from bench.suites.drop_in_cases import (
    CONTENDERS,
    DropIn,
    DropInCase,
    DropInProblem,
    cases,
    contender,
    make_problem,
)
from bench.truth import Averages, compared, nearest

__all__ = ["VERBS", "judged", "measure", "run", "with_peak"]

VERBS = {"lookup": "lookup", "train step": "train_step"}
_CHECKED_ROWS = 256
# A call of a peer takes seconds: it is sampled all the same, not once and cold.
_SLOW_SECONDS = 60.0


def run(options: Options, watch: NoiseWatch) -> Iterator[Row]:
    """One row per contender of a lookup and of a train step, case by case."""
    for case in cases(options.quick):
        for verb in VERBS:
            yield from measure(case, verb, options, watch)


def measure(case: DropInCase, verb: str, options: Options, watch: NoiseWatch) -> list[Row]:
    """All contenders on one case: gate, timing, memory."""
    rows: dict[str, Row] = {}
    calls: dict[str, Call] = {}
    problem = make_problem(case, options.device, past_bytes=options.cache_bytes)
    moved = 8.0 * case.num_rows * (case.dim + case.num_levels)
    read = 4.0 * case.num_levels * case.codebook_size * case.dim
    for entrant in _entrants(options.peers):
        row = Row(
            "drop-in",
            f"{case.name}, {verb}",
            entrant.name,
            shape=case.text,
            device=options.device,
            flops=case.flops,
            bytes=moved + read,
            figures={"MB of one distance matrix": 1e-6 * case.matrix_bytes},
        )
        with thread_count(1):
            rows[entrant.name], call = _prepared(entrant, row, verb, problem)
        if call is not None:
            calls[entrant.name] = call
    timings = _timed({name: call.run for name, call in calls.items()}, options, watch)
    calls.clear()
    for name in timings:
        row = replace(rows[name], timings=tuple(timings[name]))
        rows[name] = with_peak(row, case, verb) if options.memory else row
        watch.sample()
    return list(rows.values())


def _entrants(peers: list[str] | None) -> list[DropIn]:
    own = [each for each in CONTENDERS if each.name.startswith("spinlock")]
    return own + [
        each
        for each in CONTENDERS
        if each not in own and (peers is None or any(each.name.startswith(p) for p in peers))
    ]


def _prepared(
    entrant: DropIn, row: Row, verb: str, problem: DropInProblem
) -> tuple[Row, Call | None]:
    try:
        call: Call = getattr(entrant, VERBS[verb])(problem)
        complaint = judged(entrant, problem, call.outcome(call.run(0)))
    except Unavailable as error:
        return replace(row, status="missing", note=str(error)), None
    except Exception as error:  # a peer may fail in any way; the others go on
        return replace(row, status="failed", note=f"{type(error).__name__}: {error}"[:300]), None
    if complaint:
        return replace(row, status="wrong", note=complaint), None
    return row, call


def judged(entrant: DropIn, problem: DropInProblem, found: Outcome) -> str:
    """What is wrong with the result of the first call on the first batch, or nothing.

    Args:
        entrant: whose contract counts.
        problem: what the call was made for.
        found: with a gradient where it was a train step, whose codes have moved; in eval mode
            losses are not compared, for not all contenders make any.
    """
    case, contract = problem.case, entrant.contract
    rows = problem.batches[0].reshape(case.num_rows, case.dim)
    rest, total, pull = rows, torch.zeros_like(rows).double(), torch.zeros_like(rows).double()
    sample = torch.linspace(0, case.num_rows - 1, _CHECKED_ROWS).long().unique()
    indices = torch.from_numpy(found.indices).to(rows.device)
    assert found.quantized is not None
    assert found.commitment is not None
    assert found.codebooks is not None
    for level, codes in enumerate(problem.codebooks):
        chosen = indices[:, level : level + 1]
        if int(chosen.min()) < 0 or int(chosen.max()) >= case.codebook_size:
            return f"level {level}: an index names no code"
        some = rest.index_select(0, sample.to(rows.device))
        known = chosen.index_select(0, sample.to(rows.device))
        share, excess = compared(contract, some, [codes.double()], known, nearest(some, [codes]))
        if (contract.exact and share > 0) or not excess <= contract.excess:
            return f"level {level}: {share:.2%} of the indices are wrong, by up to {excess:.2g}"
        given = codes.index_select(0, chosen[:, 0])
        left = rest.double() - given.double()
        if found.gradient is not None:
            loss = float(left.square().mean())
            if not abs(float(found.commitment[level]) - loss) <= contract.tolerance * loss:
                return f"level {level}: loss {found.commitment[level]:.6g}, in float64 {loss:.6g}"
            state = Averages([codes.double()], EMA())
            state.step(rest, chosen)
            if complaint := _off(found.codebooks[level], state.codebooks[0], contract.tolerance):
                return f"level {level}: updated codes {complaint}"
        pull += left * (2.0 / (left.numel() * case.num_levels))
        total += given
        rest = rest - given
    if complaint := _off(found.quantized, total, contract.tolerance):
        return f"quantized rows {complaint}"
    if found.gradient is None:
        return ""
    times = case.num_levels if entrant.per_level else 1
    wanted = times * problem.upstream.reshape(rows.shape).double() + pull
    complaint = _off(found.gradient, wanted, contract.tolerance)
    return f"the gradient {complaint}" if complaint else ""


def _off(found: NDArray[np.float32], wanted: torch.Tensor, tolerance: float) -> str:
    if found.shape != tuple(wanted.shape):
        return f"have the shape {found.shape}, expected {tuple(wanted.shape)}"
    error = float((torch.from_numpy(found).to(wanted.device).double() - wanted).abs().max())
    share = error / float(wanted.abs().max())
    return "" if share <= tolerance else f"off by {share:.2g} of the largest value"


def _timed(runs: dict[str, Run], options: Options, watch: NoiseWatch) -> dict[str, list[Timing]]:
    timings: dict[str, list[Timing]] = {name: [] for name in runs}
    passes: list[tuple[Clock, int]] = [(CpuClock(), 1)]
    if options.device != "cpu":
        passes = [(EventClock(), 1)]
    elif options.threads > 1:
        passes.append((WallClock(), options.threads))
    for clock, threads in passes:
        budget = replace(options.budget, slow_seconds=_SLOW_SECONDS)
        with thread_count(threads):
            measured = interleave(runs, clock, threads, budget, watch)
        for name, timing in measured.items():
            timings[name].append(timing)
    return timings


def with_peak(row: Row, case: DropInCase, verb: str) -> Row:
    """The row with the peak of one call in a fresh process, or with why there is none."""
    request = {"name": row.contender, "verb": verb, "device": row.device, "case": asdict(case)}
    done = subprocess.run(
        [sys.executable, "-m", "bench.suites.drop_in", json.dumps(request)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return replace(row, note=f"no peak memory: {last[0][:200]}")
    peak: int | None = json.loads(done.stdout.splitlines()[-1])
    if peak is None:
        return replace(row, note=f"no peak memory: {unknown_because(row.device)}")
    return replace(row, figures={f"MB of a {verb}": 1e-6 * peak, **row.figures})


def _child(name: str, verb: str, device: str, case: dict[str, object]) -> int | None:
    entrant, shape = contender(name), DropInCase(**case)  # type: ignore[arg-type]
    few = make_problem(replace(shape, batch=1, time=8), device)
    getattr(entrant, VERBS[verb])(few).run(0)
    call: Call = getattr(entrant, VERBS[verb])(make_problem(shape, device))
    return peak_bytes(lambda: call.run(0), device)


if __name__ == "__main__":
    with thread_count(1):
        print(json.dumps(_child(**json.loads(sys.argv[1]))))
