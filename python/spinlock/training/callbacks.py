"""What a training run tells the outside: events, progress and results, for bars, logs and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinlock.training.metrics import EvaluationMetrics

if TYPE_CHECKING:
    from spinlock.training.prepared import Prepared


@dataclass(frozen=True)
class Event:
    """Something worth telling the user, at the moment it happens.

    Attributes:
        kind: a stable word to switch on: ``loaded``, ``split``, ``cleaned``, ``categories``,
            ``ratios_reused``, ``initialised``, ``no_lock``, ``previous_run_moved``, ``resumed``,
            ``batch_size_capped``, ``validation_on_training``, ``early_stop``, ``refit``,
            ``refitted``, ``interrupted``, ``tensorboard_failed``, and ``progress``; see
            :func:`progress_event`.
        message: one sentence for a person.
        details: the figures in the message, as plain values.
    """

    kind: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


EventHandler = Callable[[Event], None]


def progress_event(task: str, done: int, total: int | None) -> Event:
    """How far a pass over rows is; the last one of a task has ``done == total``.

    >>> progress_event("reading", 500, 1000).details
    {'done': 500, 'total': 1000}
    """
    return Event("progress", task, {"done": done, "total": total})


@dataclass(frozen=True)
class RunInfo:
    """The frame of a run, known before its first step.

    Attributes:
        num_epochs: epochs in the whole run, counting those before a resume.
        steps_per_epoch: optimizer steps in an epoch.
        first_epoch: the epoch that starts or continues now, counted from 1.
        first_step: the step within it that comes next, counted from 1.
        batch_size: rows per step, after the cap at the number of training rows.
        threads: CPU threads that a step runs on.
    """

    num_epochs: int
    steps_per_epoch: int
    first_epoch: int
    first_step: int
    batch_size: int
    threads: int


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch; also one entry of ``history.json``.

    Attributes:
        epoch: counted from 1.
        step: optimizer steps since the start of training.
        learning_rate: of the epoch's last step.
        losses: mean over the epoch's steps of each weighted term, and ``total``.
        utilization: share of codes used in the epoch, mean over quantizers.
        perplexity: exp(entropy) of the epoch's code usage, mean over quantizers.
        dead_codes: codes that the whole epoch never used, over all quantizers.
        revived: codes moved onto training rows after the epoch.
        validation: metrics where this epoch was measured, else None.
        split: the rows behind ``validation``: ``validation``, or ``training`` where none are held
            out.
        seconds: wall time of the epoch.
        refit_round: the refit round that it is part of, counted from 1; 0 in training proper.
    """

    epoch: int
    step: int
    learning_rate: float
    losses: dict[str, float]
    utilization: float
    perplexity: float
    dead_codes: int
    revived: int
    validation: EvaluationMetrics | None
    split: str
    seconds: float
    refit_round: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        plain = dict(vars(self))
        plain["validation"] = None if self.validation is None else self.validation.to_dict()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EpochRecord:
        """The record that :meth:`to_dict` wrote."""
        fields = dict(plain)
        if fields["validation"] is not None:
            fields["validation"] = EvaluationMetrics.from_dict(fields["validation"])
        return cls(**fields)


class Callback:
    """Base class: override what you want to hear of; the defaults do nothing.

    Callbacks observe.  They run in the training process between steps, so a slow one slows
    training down; an exception in one ends the run.

    >>> class Loss(Callback):
    ...     def on_epoch_end(self, record):
    ...         print(record.epoch, record.losses["total"])
    """

    def on_event(self, event: Event) -> None:
        """Something worth telling happened."""

    def on_prepared(self, prepared: Prepared) -> None:
        """Data, categories and plan stand; no model yet."""

    def on_train_begin(self, run: RunInfo) -> None:
        """The first step comes next."""

    def on_step_end(self, epoch: int, step: int) -> None:
        """Step ``step`` of epoch ``epoch`` (both from 1) is done; called for every step."""

    def on_epoch_end(self, record: EpochRecord) -> None:
        """An epoch is done, validated where that was due."""

    def on_checkpoint(self, path: Path) -> None:
        """A checkpoint folder is complete on disk."""


class CallbackList(Callback):
    """Passes every call on to several callbacks, in order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = tuple(callbacks)

    def on_event(self, event: Event) -> None:
        """Passed on."""
        for callback in self.callbacks:
            callback.on_event(event)

    def on_prepared(self, prepared: Prepared) -> None:
        """Passed on."""
        for callback in self.callbacks:
            callback.on_prepared(prepared)

    def on_train_begin(self, run: RunInfo) -> None:
        """Passed on."""
        for callback in self.callbacks:
            callback.on_train_begin(run)

    def on_step_end(self, epoch: int, step: int) -> None:
        """Passed on."""
        for callback in self.callbacks:
            callback.on_step_end(epoch, step)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Passed on."""
        for callback in self.callbacks:
            callback.on_epoch_end(record)

    def on_checkpoint(self, path: Path) -> None:
        """Passed on."""
        for callback in self.callbacks:
            callback.on_checkpoint(path)
