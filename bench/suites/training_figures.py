"""What is reported of whole training runs: stages, memory, epochs, and seconds to each target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from bench.measure.interleave import speedups
from bench.record import Row, Status, Timing
from bench.suites.training_process import Process

__all__ = ["LOOP", "OWN", "Found", "TrainingWorkload", "measured_rows"]

OWN = "spinlock"
LOOP = "module_loop"
_SLACK = 1.01


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


@dataclass
class Found:
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


def measured_rows(workload: TrainingWorkload, threads: int, found: dict[str, Found]) -> list[Row]:
    """One row per contender; those that reached the end with all their figures."""
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


def _targets(done: dict[str, Found]) -> dict[str, float]:
    """Held-out errors to be reached, by the name of who ends there."""
    ends = {name: state.end_mse for name, state in done.items()}
    named = {name: ends[name] for name in (OWN, "pca-rq") if name in ends}
    worst = {"all": max(ends.values())} if len(ends) > 1 else {}
    return {name: _SLACK * error for name, error in (worst | named).items()}


def _figures(
    state: Found, done: dict[str, Found], targets: dict[str, float]
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


def _shape(workload: TrainingWorkload, state: Found) -> str:
    first = next(iter(state.rounds.values())).run
    return (
        f"{first.training_rows:,} + {first.held_out_rows:,} rows x {first.features}, "
        f"{len(first.category_mse)} categories, {workload.epochs} epochs, {workload.hierarchy}"
    )
