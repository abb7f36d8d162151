"""The cases of ``python -m bench`` under pytest-benchmark, for people who compare commits.

    pytest bench --benchmark-only --benchmark-autosave
    pytest bench --benchmark-only --benchmark-compare

One thread, wall time; a case that the gate refuses fails.  ``-k 'seed-512 and lookup'`` selects.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from bench import gate
from bench.errors import Unavailable
from bench.measure.memory import settle_allocator
from bench.peers.contender import Call, Contender
from bench.peers.registry import contenders
from bench.problems import make_problem, thread_count
from bench.suites.verbs import VERBS
from bench.workloads import Workload, find_workloads

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is not installed")

CASES = [
    pytest.param(suite, workload, contender, id=f"{suite}-{workload.name}-{contender.name}")
    for suite in VERBS
    for workload in find_workloads("all", "cpu")
    for contender in contenders(None)
    if not (contender.slow or contender.compiles)
    and (suite != "backward" or workload.group == "seed")
]


@pytest.mark.parametrize(("suite", "workload", "contender"), CASES)
def test_speed(benchmark: Any, suite: str, workload: Workload, contender: Contender) -> None:
    settle_allocator()
    with thread_count(1):
        problem = make_problem(workload, past_bytes=64 << 20)
        try:
            contender.check_available("cpu")
            call: Call = getattr(contender, VERBS[suite])(problem)
        except Unavailable as error:
            pytest.skip(str(error))
        verdict = gate.check(contender, VERBS[suite], problem, call)
        assert verdict.passed, verdict.note
        batches = itertools.count()
        benchmark.extra_info["shape"] = workload.text
        benchmark(lambda: call.run(next(batches)))
