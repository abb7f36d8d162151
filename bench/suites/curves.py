"""The suite ``curves``: how time and memory of a lookup grow with B, K, D and Q, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.measure.noise import NoiseWatch
from bench.options import Options
from bench.peers.contender import Contender
from bench.peers.registry import contenders
from bench.record import Row
from bench.suites.verbs import measure_case
from bench.workloads import Workload

__all__ = ["AXES", "run"]

# What stands still while one of them grows.
BASE = {"B": 4096, "K": 256, "D": 32, "Q": 8}
AXES: dict[str, tuple[int, ...]] = {
    "B": (64, 256, 1024, 4096, 16_384, 65_536),
    "K": (16, 64, 256, 1024, 4096),
    "D": (4, 8, 16, 32, 64, 128, 256),
    "Q": (1, 2, 4, 8, 16, 32, 64),
}
_QUICK_POINTS = 3


def run(options: Options, watch: NoiseWatch) -> Iterator[Row]:
    """One row per contender and point; workloads are named ``curve-<axis>-<value>``."""
    entrants = [c for c in contenders(options.peers) if not c.compiles and not c.slow]
    for axis, values in AXES.items():
        for value in values[:_QUICK_POINTS] if options.quick else values:
            yield from _point(axis, value, entrants, options, watch)


def _point(
    axis: str, value: int, entrants: list[Contender], options: Options, watch: NoiseWatch
) -> Iterator[Row]:
    shape = {**BASE, axis: value}
    workload = Workload(
        f"curve-{axis}-{value}",
        "curve",
        (shape["K"],) * shape["Q"],
        (shape["D"],) * shape["Q"],
        shape["B"],
    )
    rows = measure_case(
        "lookup", workload, options, watch, entrants=entrants, one_thread=options.device == "cpu"
    )
    for row in rows:
        yield replace(row, suite="curves", figures={axis: float(value)})
