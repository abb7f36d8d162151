"""Where a training run stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from spinlock.training.callbacks import EpochRecord
from spinlock.training.folder import checkpoint_name
from spinlock.training.metrics import EvaluationMetrics


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: whole epochs done.
        step_in_epoch: steps done of the next one.
        seconds_in_epoch: wall time that those took.
        finished: all epochs are done, or early stopping has ended the run.
        best_mse: held-out mean MSE of the checkpoint that ``best`` names, or None.
        best_checkpoint: its name, or None.
        history: one record per whole epoch.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    seconds_in_epoch: float = 0.0
    finished: bool = False
    best_mse: float | None = None
    best_checkpoint: str | None = None
    history: list[EpochRecord] = field(default_factory=list)

    @property
    def checkpoint_name(self) -> str:
        """The name of a checkpoint written now."""
        return checkpoint_name(self.epoch, self.step_in_epoch)

    @property
    def metrics(self) -> EvaluationMetrics | None:
        """Of the last epoch that was measured."""
        measured = (record.validation for record in reversed(self.history))
        return next((metrics for metrics in measured if metrics is not None), None)

    def note_candidate(self, metrics: EvaluationMetrics | None) -> bool:
        """Notes the checkpoint about to be written as the best one, if it is; True where it is."""
        if metrics is None or (self.best_mse is not None and metrics.mean_mse >= self.best_mse):
            return False
        self.best_mse, self.best_checkpoint = metrics.mean_mse, self.checkpoint_name
        return True

    def require_within(self, num_epochs: int, steps_per_epoch: int) -> None:
        """Checks that this is a position of such a run, with a history up to it.

        Raises:
            ValueError: it is none.
        """
        epochs = [record.epoch for record in self.history]
        if self.epoch > num_epochs or epochs != [*range(1, self.epoch + 1)]:
            raise ValueError(f"epoch {self.epoch} of {num_epochs}, a history of {len(epochs)}")
        if not 0 <= self.step_in_epoch < steps_per_epoch:
            raise ValueError(f"step {self.step_in_epoch} of {steps_per_epoch}")

    def to_state(self) -> dict[str, Any]:
        """Plain values without the history, which has a file of its own."""
        state = asdict(self)
        del state["history"]
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any], history: Sequence[EpochRecord]) -> Progress:
        """The progress that :meth:`to_state` described."""
        return cls(**state, history=list(history))
