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
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from bench.record import Row
from bench.suites.training_figures import LOOP, OWN, Found, TrainingWorkload, measured_rows
from bench.suites.training_process import Failed, launch

__all__ = ["CONTENDERS", "TrainingWorkload", "measure", "run", "workloads"]

ROOT = Path(__file__).parents[2]


class Options(Protocol):
    """What this suite reads of a run's options."""

    @property
    def quick(self) -> bool:
        """3 epochs instead of 100, and the contenders that are through in a few seconds."""

    @property
    def rounds(self) -> int:
        """Runs of every contender."""

    @property
    def threads(self) -> int:
        """CPU threads of every contender."""

    @property
    def peers(self) -> list[str] | None:
        """Names or prefixes; None is every peer."""


@dataclass(frozen=True)
class Contender:
    """A module to run with ``python -m``.

    Attributes:
        name: as printed.
        module, arguments: what is run.
        needs: (module, package) that has to be installed.
        has_hierarchy: it trains the form of the model that the workload names.
        takes_minutes: it may, on a busy machine, however few the epochs are.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, str] | None = None
    has_hierarchy: bool = True
    takes_minutes: bool = False


def _pca(name: str, *arguments: str, slow: bool = False) -> Contender:
    return Contender(
        name,
        "bench.peers.pca_residual_quantizer",
        arguments,
        ("faiss", "faiss-cpu"),
        has_hierarchy=False,
        takes_minutes=slow,
    )


CONTENDERS = (
    Contender(OWN, "bench.suites.training_run"),
    Contender(LOOP, "bench.peers.module_loop"),
    _pca("pca-rq", slow=True),
    _pca("pca-rq-beam16", "--beam", "16", slow=True),
    _pca("pca-rq-4bit", "--stage-bits", "4"),
)


def run(options: Options) -> Iterator[Row]:
    """The seed-shaped job in its residual form; in full mode the independent form as well."""
    for workload in workloads(options.quick):
        yield from measure(
            workload,
            threads=options.threads,
            rounds=options.rounds,
            peers=options.peers,
            quick=options.quick,
        )


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
    workload: TrainingWorkload,
    *,
    threads: int,
    rounds: int,
    peers: list[str] | None = None,
    quick: bool = False,
) -> list[Row]:
    """Runs every contender ``rounds`` times, in turns, and returns a row for each.

    Args:
        workload: the job.
        threads: CPU threads of every process.
        rounds: runs of each contender.
        peers: names or prefixes; None is every peer.
        quick: skip what takes minutes.
    """
    found: dict[str, Found] = {}
    chosen = [c for c in CONTENDERS if c.name == OWN or _wanted(c, workload, peers)]
    for contender in chosen:
        found[contender.name] = state = Found()
        if contender.needs is not None and find_spec(contender.needs[0]) is None:
            state.refuse("missing", f"not installed: pip install {contender.needs[1]}")
        elif quick and contender.takes_minutes:
            state.refuse("skipped", "may take minutes; run without --quick")
        elif contender.name == LOOP:
            _check_losses(contender, workload, threads, state)
    for number in range(rounds):
        for contender in chosen if number % 2 == 0 else chosen[::-1]:
            if found[contender.name].status == "ok":
                _run_once(contender, workload, threads, number, found[contender.name])
    return measured_rows(workload, threads, found)


def _wanted(contender: Contender, workload: TrainingWorkload, peers: list[str] | None) -> bool:
    """Asked for; what has no form of the model is run beside the residual one only."""
    asked = peers is None or any(contender.name.startswith(name) for name in peers)
    return asked and (contender.has_hierarchy or workload.hierarchy == "residual")


def _check_losses(
    contender: Contender, workload: TrainingWorkload, threads: int, state: Found
) -> None:
    """The gate: equal losses, or no speed."""
    try:
        process = launch(contender.module, [*workload.arguments(threads), "--check"], threads)
        state.figures["loss difference over 5 steps"] = float(process.output)
    except Failed as error:
        state.refuse("wrong", str(error))


def _run_once(
    contender: Contender, workload: TrainingWorkload, threads: int, number: int, state: Found
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
