"""spinlock's own whole training run, as a process that reports when it reached what.

    python -m bench.suites.training_run --config configs/vqvae/seed_shape.yaml --epochs 3

It is ``spinlock.training.pipeline.train``, what the command ``spinlock train-vqvae`` calls, with
checkpoints written as configured; a callback notes the times.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import TYPE_CHECKING

from bench.peers.whole_run import Measured, WholeRun, arguments_parser, config_of, report
from spinlock.training.callbacks import Callback, EpochRecord, Event, RunInfo

if TYPE_CHECKING:
    from spinlock.training.prepared import Prepared

__all__ = ["Clock", "main"]


class Clock(Callback):
    """Writes into a run when each stage ended and what each epoch reached."""

    def __init__(self, run: WholeRun) -> None:
        self.run = run

    def on_event(self, event: Event) -> None:
        """The end of cleaning is an event."""
        if event.kind == "cleaned":
            self.run.stamp("cleaned")

    def on_prepared(self, prepared: Prepared) -> None:
        """Data and plan stand."""
        self.run.stamp("prepared")
        self.run.bits = prepared.plan.bits
        self.run.training_rows, self.run.features = prepared.train.shape
        self.run.held_out_rows = len(prepared.validation)

    def on_train_begin(self, run: RunInfo) -> None:
        """The first step comes next."""
        del run
        self.run.stamp("training")

    def on_epoch_end(self, record: EpochRecord) -> None:
        """One more point on the way to quality."""
        if record.validation is None:
            return
        metrics = record.validation
        self.run.measured.append(Measured(time.monotonic(), metrics.feature_mse, record.seconds))
        self.run.category_mse = list(metrics.category_mse.values())


def main(arguments: list[str] | None = None) -> int:
    """Trains once and prints the report; returns the exit code."""
    from spinlock.training.pipeline import train

    options = arguments_parser(str(__doc__).splitlines()[0]).parse_args(arguments)
    run = WholeRun()
    run.stamp("imported")
    with tempfile.TemporaryDirectory() as folder:
        options.folder = options.folder or folder
        train(config_of(options), callbacks=[Clock(run)])
        report(run, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
