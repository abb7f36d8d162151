"""What spinlock was to reach, set before its kernels were written, and what a record shows."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import BenchError
from bench.limits.roofline import share
from bench.record import Record, Row, Timing
from bench.render import units
from bench.render.block import COST, NONE
from bench.render.ratios import cases, clocks, speedups, timing_on
from bench.render.tables import drawn

__all__ = ["GOALS", "Goal", "goals_table", "reached"]

_CPP, _FLOAT32, _TRITON = "spinlock cpp", "spinlock cpp, float32", "spinlock triton"
_TORCH = ("torch loop", "torch loop, compiled")
_FAISS = ("faiss IndexFlatL2",)
_MODULES = ("vector-quantize-pytorch",)
_PCA = ("pca-rq", "pca-rq-beam16", "pca-rq-4bit")
_TO_ALL = "target all: seconds"


@dataclass(frozen=True)
class Goal:
    """One figure that a record has to show.

    Attributes:
        suite, workload, own: which row.
        must, hoped: at least; at most where less is better.
        peers: times less than the best of them.
        kind: ``times`` on the clock ``name``, or that of the tables; without peers the ``share`` of
            the tighter limit, ``seconds`` on the clock ``name``, or ``cost`` of the hardest kind of
            data; with or without them the ``figure`` of that name.
        name: see kind.
    """

    suite: str
    workload: str
    own: str
    must: float
    hoped: float
    peers: tuple[str, ...] = ()
    kind: str = "times"
    name: str = ""

    @property
    def less_is_better(self) -> bool:
        """Of times and costs."""
        return self.kind in ("seconds", "cost")


def _cost(workload: str) -> Goal:
    return Goal("exactness", workload, _CPP, 1.4, 1.1, kind="cost")


def _share(workload: str, must: float, hoped: float) -> Goal:
    return Goal("lookup", workload, _FLOAT32, must, hoped, kind="share")


def _graph(suite: str, workload: str, must: float, hoped: float, clock: str = "graph") -> Goal:
    return Goal(suite, workload, _TRITON, must, hoped, kind="seconds", name=clock)


def _exact(workload: str, clock: str) -> Goal:
    return Goal("lookup", workload, _TRITON, 1.0, 1.0, ("flash-kmeans",), name=clock)


def _epochs(workload: str) -> Goal:
    name = "epochs, times faster than module_loop"
    return Goal("training", workload, "spinlock", 10.0, 10.0, kind="figure", name=name)


_SINGLE = ("single-65536-1024-256", "single-32768-8192-64", "single-16384-16384-8")

GOALS: dict[str, tuple[Goal, ...]] = {
    "cpu": (
        Goal("train-step", "seed-512", _CPP, 15.0, 30.0, _TORCH),
        Goal("train-step", "seed-512", _CPP, 60.0, 100.0, _MODULES),
        Goal("train-step", "seed-4096", _CPP, 8.0, 12.0, _TORCH),
        Goal("lookup", "seed-512", _CPP, 7.0, 10.0, _FAISS),
        Goal("lookup", "seed-4096", _CPP, 7.0, 10.0, _FAISS),
        Goal("train-step", "ragged-4096", _CPP, 2.7, 3.5, _TORCH),
        Goal("lookup", "ragged-4096", _CPP, 3.5, 4.0, _FAISS),
        _share(_SINGLE[0], 0.93, 0.96),
        _share(_SINGLE[1], 0.93, 0.96),
        _share(_SINGLE[2], 0.80, 0.87),
        Goal("lookup", _SINGLE[0], _CPP, 1.9, 2.4, _FAISS),
        Goal("lookup", _SINGLE[1], _CPP, 2.8, 5.0, _FAISS),
        Goal("lookup", _SINGLE[2], _CPP, 1.4, 1.6, _FAISS),
        *(_cost(name) for name in ("seed-512", "seed-4096", "ragged-4096", *_SINGLE)),
        *(_epochs(name) for name in ("seed-shape", "seed-shape, independent")),
        Goal("training", "seed-shape", "spinlock", 1.0, 1.0, _PCA, "figure", _TO_ALL),
    ),
    "cuda": (
        _graph("train-step", "seed-512", 15e-6, 15e-6),
        _graph("lookup", _SINGLE[0], 140e-6, 90e-6),
        _graph("lookup", "single-1000000-16384-64", 10e-3, 6e-3),
        _graph("lookup", "ragged-65536-pow2", 0.8e-3, 0.8e-3),
        *(
            _exact(name, clock)
            for clock in ("graph", "events")
            for name in (*_SINGLE, "single-1000000-16384-64")
        ),
    ),
}


def goals_table(record: Record, *workloads: str) -> str:
    """Goal by goal: what it was, what the record shows, and whether that is enough.

    Args:
        record: with the figures; goals of suites that it lacks are left out.
        workloads: only their goals; all without any.

    Raises:
        BenchError: there are no such goals for the record's device.
    """
    device = str(record.environment.get("device", ""))
    if device not in GOALS:
        raise BenchError(f"goals: expected a record of {' or '.join(GOALS)}, got '{device}'")
    suites = {row.suite for row in record.rows}
    wanted = [goal for goal in GOALS[device] if not workloads or goal.workload in workloads]
    lines = [_line(goal, record) for goal in wanted if goal.suite in suites]
    if not lines:
        raise BenchError(f"goals: expected workloads that have one, got {' '.join(workloads)!r}")
    columns = ["suite", "workload", "", "figure", "must", "hoped for", "reached", ""]
    return drawn(columns, lines, left=4)


def reached(goal: Goal, record: Record) -> float | None:
    """The figure; None where the record has none."""
    rows = cases(record.rows).get((goal.suite, goal.workload), [])
    done = [row for row in rows if row.status == "ok"]
    own = next((row for row in done if row.contender == goal.own), None)
    if own is None:
        return None
    if goal.kind == "cost":
        costs = [value for name, value in own.figures.items() if name.startswith(COST)]
        return max(costs, default=None)
    if goal.kind == "figure":
        return _figure_reached(goal, own, done)
    if goal.kind == "seconds":
        timing = own.timing(goal.name)
        return timing.median if timing is not None else None
    clock = next((each for each in clocks(done) if goal.name in ("", each.kind)), None)
    timing = timing_on(own, clock) if clock is not None else None
    if clock is None or timing is None:
        return None
    if goal.kind == "share":
        return _limit_share(own, timing, record)
    times = speedups(own, done, clock)
    return min((times[peer] for peer in goal.peers if peer in times), default=None)


def _figure_reached(goal: Goal, own: Row, done: list[Row]) -> float | None:
    value = own.figures.get(goal.name)
    if not goal.peers or value is None:
        return value
    peers = [row for row in done if row.contender in goal.peers and goal.name in row.figures]
    return min(row.figures[goal.name] for row in peers) / value if peers else None


def _limit_share(row: Row, timing: Timing, record: Record) -> float | None:
    try:
        limits = record.limits_of(row)
        return share(timing.median, row.flops, row.bytes, limits, timing.threads)
    except BenchError:
        return None


def _line(goal: Goal, record: Record) -> list[str]:
    value = reached(goal, record)
    names = [goal.suite, goal.workload, goal.own, _figure(goal)]
    bounds = [_text(goal, goal.must), _text(goal, goal.hoped)]
    if value is None:
        return [*names, *bounds, NONE, "not measured"]
    return [*names, *bounds, _text(goal, value), _verdict(goal, value)]


def _verdict(goal: Goal, value: float) -> str:
    sign = -1.0 if goal.less_is_better else 1.0
    if sign * value < sign * goal.must:
        return "**missed**"
    return "met" if sign * value < sign * goal.hoped else "met, as hoped"


def _figure(goal: Goal) -> str:
    if goal.peers:
        best = "the fastest " if len(goal.peers) > 1 else ""
        what = f"{goal.name}, " if goal.name else ""
        return f"{what}times faster than {best}{goal.peers[0]}"
    if goal.kind == "figure":
        return goal.name
    if goal.kind == "share":
        return "share of the machine's limit"
    if goal.kind == "cost":
        return "hardest kind of data, against mean 0"
    return f"time, {goal.name}"


def _text(goal: Goal, value: float) -> str:
    if goal.kind == "share":
        return units.percent(value)
    return units.seconds(value) if goal.kind == "seconds" else units.ratio(value)
