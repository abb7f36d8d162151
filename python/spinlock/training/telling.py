"""What a trainer tells beside its steps and epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinlock.training.callbacks import Event, RunInfo

if TYPE_CHECKING:
    from spinlock.training.loop import Trainer


def announce(trainer: Trainer) -> None:
    """The frame of a run before its first step, and what the data made of its settings."""
    if trainer.batch_size < trainer.settings.batch_size:
        message = (
            f"batch_size {trainer.settings.batch_size} is more than the training rows: every "
            f"step takes all {trainer.batch_size}"
        )
        details = {"batch_size": trainer.batch_size}
        trainer.callback.on_event(Event("batch_size_capped", message, details))
    if trainer.split == "training":
        message = (
            "no rows are held out (training.validation_split): errors, early stopping and "
            "`best` go by the training rows"
        )
        trainer.callback.on_event(Event("validation_on_training", message))
    trainer.callback.on_train_begin(
        RunInfo(
            num_epochs=trainer.settings.total_epochs,
            steps_per_epoch=trainer.steps_per_epoch,
            first_epoch=trainer.progress.epoch + 1,
            first_step=trainer.progress.step_in_epoch + 1,
            batch_size=trainer.batch_size,
            threads=trainer.threads,
        )
    )


def tell_early_stop(trainer: Trainer) -> None:
    """That and why the run ends before its last epoch."""
    watch = trainer.early_stopping
    message = (
        f"stopped after epoch {trainer.progress.epoch}: the {trainer.split} error has not improved "
        f"on {watch.best:.4g} since epoch {watch.best_epoch}"
    )
    details = {"epoch": trainer.progress.epoch, "best_epoch": watch.best_epoch}
    trainer.callback.on_event(Event("early_stop", message, details))
