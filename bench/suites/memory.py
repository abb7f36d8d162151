"""The suite ``memory``: the most that a call holds beyond its inputs, each in a process of its own.

In a fresh process no allocator keeps memory of earlier calls, so that the figure is what a user's
process would grow by.  Beside it stands what an N x K matrix of distances would take, for the
largest codebook alone and for all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace

import torch

from bench.errors import Unavailable
from bench.measure.memory import peak_bytes
from bench.measure.noise import NoiseWatch
from bench.options import Options
from bench.peers.contender import Call, Contender
from bench.peers.registry import contenders
from bench.problems import make_problem, thread_count
from bench.record import Row
from bench.suites.verbs import VERBS
from bench.workloads import Workload

__all__ = ["run"]


def run(options: Options, watch: NoiseWatch) -> Iterator[Row]:
    """One row per contender and workload, of a lookup and of a train step."""
    for workload in options.workloads:
        for contender in contenders(options.peers):
            if contender.slow or contender.compiles:
                continue
            yield _row(contender, workload, options)
            watch.sample()


def _row(contender: Contender, workload: Workload, options: Options) -> Row:
    row = Row("memory", workload.name, contender.name, shape=workload.text, device=options.device)
    try:
        contender.check_available(options.device)
    except Unavailable as error:
        return replace(row, status="missing", note=str(error))
    figures = {
        "MB of one distance matrix": 4e-6 * workload.num_rows * max(workload.codebook_sizes),
        "MB of all distance matrices": 4e-6 * workload.num_rows * sum(workload.codebook_sizes),
    }
    peaks: dict[str, float] = {}
    notes: list[str] = []
    for verb in ("lookup", "train-step"):
        found = _in_child(contender.name, verb, workload, options)
        if isinstance(found, str):
            notes.append(f"{verb}: {found}")
        elif found is not None:
            peaks[f"MB of a {verb}"] = found * 1e-6
    return replace(
        row, status="ok" if peaks else "missing", note="; ".join(notes), figures=peaks | figures
    )


def _in_child(name: str, suite: str, workload: Workload, options: Options) -> float | str | None:
    request = {
        "contender": name, "suite": suite, "workload": asdict(workload), "device": options.device,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "bench.suites.memory", json.dumps(request)],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return f"failed: {last[0]}"[:200]
    answer: float | str | None = json.loads(done.stdout.splitlines()[-1])
    return answer


def _child(request: dict[str, object]) -> float | str | None:
    """In the fresh process: peak bytes of the first call, after a call on a tiny problem."""
    fields = dict(request["workload"])  # type: ignore[call-overload]
    for key in ("codebook_sizes", "dims"):
        fields[key] = tuple(fields[key])
    workload, device = Workload(**fields), str(request["device"])
    (contender,) = [c for c in contenders(None) if c.name == request["contender"]]
    verb = VERBS[str(request["suite"])]
    try:
        with thread_count(1):
            few = make_problem(replace(workload, num_rows=min(8, workload.num_rows)), device)
            warm: Call = getattr(contender, verb)(few)
            warm.run(0)
            call: Call = getattr(contender, verb)(make_problem(workload, device))
            return peak_bytes(lambda: call.run(0), device)
    except Unavailable as error:
        return str(error)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(_child(json.loads(sys.argv[1]))))
