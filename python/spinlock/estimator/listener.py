"""What the estimator says while it trains."""

from __future__ import annotations

import warnings

from spinlock.training.callbacks import Callback, EpochRecord, Event

# What the user must know, whatever the verbosity.
_WARNINGS = ("no_lock", "previous_run_moved")


class Listener(Callback):
    """Prints as ``verbose`` asks for: 1 what happens and every tenth epoch, 2 every epoch."""

    def __init__(self, verbose: int) -> None:
        self.verbose = int(verbose)

    def on_event(self, event: Event) -> None:
        """Prints it; what the user must know is a warning instead."""
        if event.kind in _WARNINGS:
            warnings.warn(event.message, UserWarning, stacklevel=2)
        elif self.verbose and event.kind not in ("progress", "interrupted"):
            print(event.message)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Prints its loss and error."""
        if self.verbose > 1 or (self.verbose and record.epoch % 10 == 0):
            found = record.validation
            measured = "" if found is None else f", {record.split} MSE {found.mean_mse:.4f}"
            print(f"epoch {record.epoch}: loss {record.losses['total']:.4f}{measured}")
