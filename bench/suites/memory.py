"""The suite ``memory``: the most that a call holds beyond its inputs, in a fresh process.

Every contender has a process of its own, so that nobody's allocator keeps memory of another's
calls.  Beside the figure stands what an N x K matrix of distances would take, for the largest
codebook alone and for all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.errors import Unavailable
from bench.measure.memory import peak_bytes
from bench.measure.noise import NoiseWatch
from bench.options import Options
from bench.peers.contender import Call, Contender
from bench.peers.registry import contenders
from bench.problems import make_problem, thread_count
from bench.record import Row, Status
from bench.suites.verbs import VERBS
from bench.workloads import Workload

__all__ = ["run"]


def run(options: Options, watch: NoiseWatch) -> Iterator[Row]:
    """One row per contender and workload, of a lookup and of a train step."""
    for contender in contenders(options.peers):
        if contender.slow or contender.compiles:
            continue
        yield from _rows(contender, options)
        watch.sample()


def _rows(contender: Contender, options: Options) -> list[Row]:
    rows = [
        Row("memory", workload.name, contender.name, shape=workload.text, device=options.device)
        for workload in options.workloads
    ]
    try:
        contender.check_available(options.device)
        answers = _in_child(contender.name, options)
    except Unavailable as error:
        return [replace(row, status="missing", note=str(error)) for row in rows]
    if isinstance(answers, str):
        return [replace(row, status="failed", note=answers) for row in rows]
    found = zip(rows, options.workloads, answers, strict=True)
    return [_with_figures(row, workload, answer) for row, workload, answer in found]


def _with_figures(row: Row, workload: Workload, answer: dict[str, float | str | None]) -> Row:
    peaks = {f"MB of a {s}": 1e-6 * peak for s, peak in answer.items() if isinstance(peak, float)}
    notes = [f"{suite}: {why}" for suite, why in answer.items() if isinstance(why, str)]
    matrices = {
        "MB of one distance matrix": 4e-6 * workload.num_rows * max(workload.codebook_sizes),
        "MB of all distance matrices": 4e-6 * workload.num_rows * sum(workload.codebook_sizes),
    }
    status: Status = "ok" if peaks else "missing"
    return replace(row, status=status, note="; ".join(notes), figures=peaks | matrices)


def _in_child(name: str, options: Options) -> list[dict[str, float | str | None]] | str:
    """Per workload: suite -> peak bytes, or why there are none; or how the process failed."""
    request = {
        "contender": name,
        "device": options.device,
        "workloads": [asdict(workload) for workload in options.workloads],
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.suites.memory", json.dumps(request)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return last[0][:200]
    answers: list[dict[str, float | str | None]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def _child(request: dict[str, Any]) -> list[dict[str, float | str | None]]:
    (contender,) = [c for c in contenders(None) if c.name == request["contender"]]
    answers = []
    for fields in request["workloads"]:
        shape = {key: tuple(fields[key]) for key in ("codebook_sizes", "dims")}
        workload = Workload(**{**fields, **shape})
        answers.append(
            {
                suite: _peak(contender, VERBS[suite], workload, request["device"])
                for suite in ("lookup", "train-step")
            }
        )
    return answers


def _peak(contender: Contender, verb: str, workload: Workload, device: str) -> float | str | None:
    """Peak bytes of a call, after one on a tiny problem; None where they cannot be known."""
    try:
        few = make_problem(replace(workload, num_rows=min(8, workload.num_rows)), device)
        warm: Call = getattr(contender, verb)(few)
        warm.run(0)
        call: Call = getattr(contender, verb)(make_problem(workload, device))
        peak = peak_bytes(lambda: call.run(0), device)
    except Unavailable as error:
        return str(error)
    return None if peak is None else float(peak)


if __name__ == "__main__":
    with thread_count(1):
        print(json.dumps(_child(json.loads(sys.argv[1]))))
