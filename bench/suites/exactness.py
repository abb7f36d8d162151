"""The suite ``exactness``: wrong indices on every kind of data, and what hard data costs.

An exact lookup has to look twice where codes are nearly as close as each other for float32; this
suite shows how much that costs against plain data (mean 0), for those who promise to be exact,
and how often the others are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from bench import gate
from bench.errors import Unavailable
from bench.measure.interleave import CpuClock, interleave
from bench.measure.noise import NoiseWatch
from bench.options import Options
from bench.peers.contender import Contender
from bench.peers.registry import contenders
from bench.problems import KINDS, make_problem, thread_count
from bench.record import Row
from bench.workloads import Workload

__all__ = ["run"]


def run(options: Options, watch: NoiseWatch) -> Iterator[Row]:
    """One row per contender and workload; exact ones with their cost per kind of data."""
    for workload in options.workloads:
        for contender in contenders(options.peers):
            if not contender.compiles:
                yield _row(contender, workload, options, watch)


def _row(contender: Contender, workload: Workload, options: Options, watch: NoiseWatch) -> Row:
    row = Row(
        "exactness", workload.name, contender.name, shape=workload.text, device=options.device
    )
    try:
        contender.check_available(options.device)
        with thread_count(1):
            return _measured(row, contender, workload, options, watch)
    except Unavailable as error:
        return replace(row, status="missing", note=str(error))
    except Exception as error:  # a peer may fail in any way; the others go on
        return replace(row, status="failed", note=f"{type(error).__name__}: {error}"[:300])


def _measured(
    row: Row, contender: Contender, workload: Workload, options: Options, watch: NoiseWatch
) -> Row:
    wrong = gate.wrong_rates(contender, workload, KINDS, options.device)
    broken = [kind for kind, share in wrong.items() if share > 0]
    if contender.contract.exact and broken:
        note = f"promises exact indices and is wrong on {', '.join(broken)}"
        return replace(row, status="wrong", note=note, wrong=wrong)
    exact = contender.contract.exact and not contender.slow and options.device == "cpu"
    figures = _costs(contender, workload, options, watch) if exact else {}
    return replace(row, wrong=wrong, figures=figures)


def _costs(
    contender: Contender, workload: Workload, options: Options, watch: NoiseWatch
) -> dict[str, float]:
    runs = {}
    for kind in KINDS:
        problem = make_problem(workload, options.device, kind=kind)
        with suppress(Unavailable):
            runs[kind] = contender.lookup(problem).run
    timings = interleave(runs, CpuClock(), 1, options.budget, watch)
    return {
        f"cost of {kind}": 1.0 / timing.speedup["mean 0"] if kind != "mean 0" else 1.0
        for kind, timing in timings.items()
    }
