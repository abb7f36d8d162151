"""Whole training runs side by side: time, memory, and seconds until a stated quality.

Every contender is a fresh process on the same configuration, run in turns (A B C A B C, the order
reversed every other round); figures are medians over the rounds.

* Times count from the moment the process is started: imports, reading, cleaning, analysis and
  initialisation are in them.
* Quality is the held-out squared error, mean over rows and features, in z-units.  **Validation is
  included** in the seconds per epoch and in the seconds to a target: everyone who stops at a
  quality has to measure it.  Both networks validate after every epoch, by the same function; PCA
  with a residual quantizer does so once, at its end.
* A target is an end error plus 1%: ``all`` is the largest of all contenders', which each of them
  reaches; ``spinlock`` and ``pca-rq`` are theirs.
* spinlock writes its checkpoints as configured; the module loop saves its weights once.
* The gate: the module loop is compared only where its losses of the first 5 steps, from the same
  weights, are spinlock's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np

from bench.measure.interleave import speedups
from bench.record import Row, Status, Timing
from bench.suites.training_process import Failed, Process, launch

__all__ = ["CONTENDERS", "TrainingWorkload", "measure", "run", "workloads"]

ROOT = Path(__file__).parents[2]
_SLACK = 1.01


class Options(Protocol):
    """What this suite reads of a run's options."""

    @property
    def quick(self) -> bool:
        """3 epochs and one round instead of 100 and two."""

    @property
    def threads(self) -> int:
        """CPU threads of every contender."""

    @property
    def peers(self) -> list[str] | None:
        """Names or prefixes; None is every peer."""


@dataclass(frozen=True)
class TrainingWorkload:
    """One job.

    Attributes:
        name: as printed.
        config: a training configuration.
        epochs: instead of its own.
        rows: a sample of so many; None takes all.
        hierarchy: form of the model.
    """

    name: str
    config: Path
    epochs: int
    rows: int | None = None
    hierarchy: str = "residual"

    def arguments(self, threads: int) -> list[str]:
        """What every contender's command is given."""
        given = ["--config", str(self.config), "--epochs", str(self.epochs)]
        given += ["--hierarchy", self.hierarchy, "--threads", str(threads)]
        return given if self.rows is None else [*given, "--rows", str(self.rows)]


@dataclass(frozen=True)
class Contender:
    """A module to run with ``python -m``.

    Attributes:
        name: as printed.
        module, arguments: what is run.
        needs: (module, package) that has to be installed.
        has_hierarchy: it trains the form of the model that the workload names.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, str] | None = None
    has_hierarchy: bool = True


def _pca(name: str, *arguments: str) -> Contender:
    module = "bench.peers.pca_residual_quantizer"
    return Contender(name, module, arguments, ("faiss", "faiss-cpu"), has_hierarchy=False)


OWN = "spinlock"
LOOP = "module_loop"
CONTENDERS = (
    Contender(OWN, "bench.suites.training_run"),
    Contender(LOOP, "bench.peers.module_loop"),
    _pca("pca-rq"),
    _pca("pca-rq-beam16", "--beam", "16"),
    _pca("pca-rq-4bit", "--stage-bits", "4"),
)


@dataclass
class _Found:
    """What is known of a contender: its processes by round, or why there are none."""

    rounds: dict[int, Process] = field(default_factory=dict)
    status: Status = "ok"
    note: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    def refuse(self, status: Status, note: str) -> None:
        """Keeps no speed."""
        self.rounds, self.status, self.note = {}, status, note

    @property
    def end_mse(self) -> float:
        """Held-out MSE at the end, the median over the rounds."""
        return self.median(lambda process: process.run.measured[-1].mse)

    def median(self, figure: Callable[[Process], float]) -> float:
        """The median over the rounds."""
        return float(median(figure(process) for process in self.rounds.values()))


def run(options: Options) -> Iterator[Row]:
    """The seed-shaped job in its residual form; in full mode the independent form as well."""
    rounds = 1 if options.quick else 2
    for workload in workloads(options.quick):
        yield from measure(workload, threads=options.threads, rounds=rounds, peers=options.peers)


def workloads(quick: bool) -> list[TrainingWorkload]:
    """The jobs of a run."""
    config = ROOT / "configs" / "vqvae" / "seed_shape.yaml"
    if quick:
        return [TrainingWorkload("seed-shape, 3 epochs", config, 3)]
    return [
        TrainingWorkload("seed-shape", config, 100),
        TrainingWorkload("seed-shape, independent", config, 100, hierarchy="independent"),
    ]


def measure(
    workload: TrainingWorkload, *, threads: int, rounds: int, peers: list[str] | None = None
) -> list[Row]:
    """Runs every contender ``rounds`` times, in turns, and returns a row for each.

    Args:
        workload: the job.
        threads: CPU threads of every process.
        rounds: runs of each contender.
        peers: names or prefixes; None is every peer.
    """
    found: dict[str, _Found] = {}
    chosen = [c for c in CONTENDERS if c.name == OWN or _wanted(c, workload, peers)]
    for contender in chosen:
        found[contender.name] = state = _Found()
        if contender.needs is not None and find_spec(contender.needs[0]) is None:
            state.refuse("missing", f"not installed: pip install {contender.needs[1]}")
        elif contender.name == LOOP:
            _check_losses(contender, workload, threads, state)
    for number in range(rounds):
        for contender in chosen if number % 2 == 0 else chosen[::-1]:
            if found[contender.name].status == "ok":
                _run_once(contender, workload, threads, number, found[contender.name])
    return _rows(workload, threads, found)


def _wanted(contender: Contender, workload: TrainingWorkload, peers: list[str] | None) -> bool:
    """Asked for; what has no form of the model is run beside the residual one only."""
    asked = peers is None or any(contender.name.startswith(name) for name in peers)
    return asked and (contender.has_hierarchy or workload.hierarchy == "residual")


def _check_losses(
    contender: Contender, workload: TrainingWorkload, threads: int, state: _Found
) -> None:
    """The gate: equal losses, or no speed."""
    try:
        process = launch(contender.module, [*workload.arguments(threads), "--check"], threads)
        state.figures["loss difference over 5 steps"] = float(process.output)
    except Failed as error:
        state.refuse("wrong", str(error))


def _run_once(
    contender: Contender, workload: TrainingWorkload, threads: int, number: int, state: _Found
) -> None:
    arguments = [*workload.arguments(threads), *contender.arguments, "--json"]
    try:
        process = launch(contender.module, arguments, threads)
        if math.isfinite(process.run.measured[-1].mse):
            state.rounds[number] = process
        else:
            state.refuse("wrong", "its held-out MSE is not finite")
    except Failed as error:
        state.refuse("failed", str(error))


def _rows(workload: TrainingWorkload, threads: int, found: dict[str, _Found]) -> list[Row]:
    done = {name: state for name, state in found.items() if state.rounds}
    targets = _targets(done)
    clocks = {
        clock: {
            name: {number: getattr(process, clock) for number, process in state.rounds.items()}
            for name, state in done.items()
        }
        for clock in ("wall", "cpu")
    }
    rows = []
    for name, state in found.items():
        row = Row("training", workload.name, name, status=state.status, note=state.note)
        if name in done:
            figures, notes = _figures(state, done, targets)
            row = Row(
                "training",
                workload.name,
                name,
                shape=_shape(workload, state),
                note="; ".join(notes),
                timings=tuple(
                    _timing(clock, threads, name, samples) for clock, samples in clocks.items()
                ),
                figures=figures,
            )
        rows.append(row)
    return rows


def _targets(done: dict[str, _Found]) -> dict[str, float]:
    """Held-out errors to be reached, by the name of who ends there."""
    ends = {name: state.end_mse for name, state in done.items()}
    named = {name: ends[name] for name in (OWN, "pca-rq") if name in ends}
    worst = {"all": max(ends.values())} if len(ends) > 1 else {}
    return {name: _SLACK * error for name, error in (worst | named).items()}


def _figures(
    state: _Found, done: dict[str, _Found], targets: dict[str, float]
) -> tuple[dict[str, float], list[str]]:
    def until(stamp: str, since: str | None = None) -> float:
        return state.median(
            lambda p: p.run.stamps[stamp] - (p.started if since is None else p.run.stamps[since])
        )

    first = next(iter(state.rounds.values())).run
    epoch = state.median(_epoch_seconds)
    figures = {
        "seconds whole process": state.median(lambda p: p.wall),
        "CPU seconds": state.median(lambda p: p.cpu),
        "seconds of imports": until("imported"),
        "seconds to data ready": until("cleaned"),
        "seconds of analysis": until("prepared", "cleaned"),
        "seconds to first step": until("training"),
        "seconds per epoch": epoch,
        "peak memory MB": state.median(lambda p: p.peak_bytes / 1e6),
        "bits per row": first.bits,
        "held-out MSE": state.end_mse,
        "held-out MSE, worst category": max(first.category_mse),
    }
    if epoch == 0.0:
        del figures["seconds per epoch"]
    loop = done.get(LOOP)
    if state is done.get(OWN) and loop is not None:
        ratios = [
            _epoch_seconds(loop.rounds[n]) / _epoch_seconds(state.rounds[n])
            for n in state.rounds.keys() & loop.rounds.keys()
        ]
        figures["epochs, times faster than module_loop"] = float(median(ratios))
    notes = [first.note] if first.note else []
    for name, target in targets.items():
        figures[f"target {name}: MSE"] = target
        seconds = [_seconds_to(process, target) for process in state.rounds.values()]
        reached = [value for value in seconds if value is not None]
        if len(reached) == len(seconds):
            figures[f"target {name}: seconds"] = float(median(reached))
        else:
            least = min(m.mse for p in state.rounds.values() for m in p.run.measured)
            notes.append(f"never reaches the target {name} ({target:.4f}), at best {least:.4f}")
    return figures | state.figures, notes


def _epoch_seconds(process: Process) -> float:
    return float(median(entry.seconds for entry in process.run.measured))


def _seconds_to(process: Process, target: float) -> float | None:
    reached = (entry.at for entry in process.run.measured if entry.mse <= target)
    at = next(reached, None)
    return None if at is None else at - process.started


def _timing(clock: str, threads: int, name: str, samples: dict[str, dict[int, float]]) -> Timing:
    own = list(samples[name].values())
    low, middle, high = np.quantile(own, [0.2, 0.5, 0.8]).tolist()
    return Timing(clock, threads, middle, low, high, len(own), speedups(name, samples))


def _shape(workload: TrainingWorkload, state: _Found) -> str:
    first = next(iter(state.rounds.values())).run
    return (
        f"{first.training_rows:,} + {first.held_out_rows:,} rows x {first.features}, "
        f"{len(first.category_mse)} categories, {workload.epochs} epochs, {workload.hierarchy}"
    )
