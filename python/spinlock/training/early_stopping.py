"""Stops a run whose held-out error no longer improves, and remembers the best epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """Watches one figure that should fall.

    Args:
        patience: epochs without an improvement after which to stop; None never stops.
        min_delta: an improvement is a value below the best one by more than this.

    >>> watch = EarlyStopping(patience=2)
    >>> [watch.update(epoch, value) for epoch, value in enumerate([3.0, 2.0, 2.5, 2.1], start=1)]
    [True, True, False, False]
    >>> watch.best_epoch, watch.should_stop
    (2, True)
    """

    patience: int | None = None
    min_delta: float = 0.0
    best: float = math.inf
    best_epoch: int = 0
    last_epoch: int = 0

    def update(self, epoch: int, value: float) -> bool:
        """Notes the value of an epoch, counted from 1; True where it is an improvement."""
        self.last_epoch = epoch
        improved = value < self.best - self.min_delta
        if improved:
            self.best, self.best_epoch = value, epoch
        return improved

    @property
    def should_stop(self) -> bool:
        """The best epoch lies ``patience`` or more epochs back."""
        return self.patience is not None and self.last_epoch - self.best_epoch >= self.patience

    def to_state(self) -> dict[str, Any]:
        """What has been seen, for a checkpoint."""
        best = self.best if math.isfinite(self.best) else None
        return {"best": best, "best_epoch": self.best_epoch, "last_epoch": self.last_epoch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continues from :meth:`to_state`."""
        self.best = math.inf if state["best"] is None else float(state["best"])
        self.best_epoch = int(state["best_epoch"])
        self.last_epoch = int(state["last_epoch"])
