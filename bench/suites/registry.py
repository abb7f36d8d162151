"""The suites by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.measure.noise import NoiseWatch
from bench.options import Options
from bench.record import Row
from bench.suites import curves, drop_in, exactness, memory, verbs

__all__ = ["QUICK_SUITES", "SUITES"]

Suite = Callable[[Options, NoiseWatch], Iterator[Row]]


def _training(options: Options, watch: NoiseWatch) -> Iterator[Row]:
    from bench.suites import training

    for row in training.run(options):
        yield row
        watch.sample()


def _analysis(options: Options, watch: NoiseWatch) -> Iterator[Row]:
    from bench.suites import analysis

    for row in analysis.run(options):
        yield row
        watch.sample()


SUITES: dict[str, Suite] = {
    "lookup": verbs.run_lookup,
    "train-step": verbs.run_train_step,
    "backward": verbs.run_backward,
    "exactness": exactness.run,
    "memory": memory.run,
    "curves": curves.run,
    "drop-in": drop_in.run,
    "analysis": _analysis,
    "training": _training,
}

# What `--quick` runs where no suite is named: the quantizer, in about a minute.
QUICK_SUITES = ("lookup", "train-step", "backward", "exactness")
