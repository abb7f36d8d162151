"""A run that goes on from a checkpoint, and the checkpoint directory that it writes to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spinlock.data.table import listed
from spinlock.errors import CheckpointError
from spinlock.training.callbacks import Callback, Event
from spinlock.training.checkpoint import SENSELESS, SavedRun, read_run
from spinlock.training.folder import RunDirectory
from spinlock.training.interrupts import GracefulInterrupt
from spinlock.training.loop import Trainer
from spinlock.training.previous_run import foreign_entries
from spinlock.training.resume import check_nothing_later, resume_path
from spinlock.training.shared_run import another_number_of_processes
from spinlock.training.weights import load_weights
from spinlock.training.wording import counted

if TYPE_CHECKING:
    from spinlock.config import TrainConfig


def read_to_continue(resume: str | Path, config: TrainConfig, directory: RunDirectory) -> SavedRun:
    """The checkpoint that ``resume`` means, after which the directory holds no later one.

    Raises:
        CheckpointError, ConfigError: there is none, it cannot be read, or there are later ones.
    """
    folder = resume_path(resume, config)
    check_nothing_later(folder, directory)
    return read_run(folder)


def restore(trainer: Trainer, saved: SavedRun, callback: Callback) -> None:
    """Puts weights and progress into a trainer, and tells where it goes on.

    Raises:
        CheckpointError: a state of another model.
    """
    try:
        load_weights(saved.path, trainer.model, saved.model_state)
        trainer.load_state(saved.trainer_state, saved.history)
    except CheckpointError:
        raise
    except SENSELESS as error:
        raise CheckpointError(
            f"the training state in '{saved.path}' does not fit its model "
            f"({type(error).__name__}: {error}): use another checkpoint"
        ) from error
    trainer.checkpoint = saved.path
    progress = trainer.progress
    where = f"after {counted(progress.epoch, 'epoch')}"
    if progress.step_in_epoch:
        where += f" and {counted(progress.step_in_epoch, 'step')}"
    done = "; the run was already finished" if trainer.finished else ""
    done += another_number_of_processes(saved.trainer_state, trainer.team)
    details = {"epoch": progress.epoch, "step_in_epoch": progress.step_in_epoch}
    callback.on_event(Event("resumed", f"continuing '{saved.path}' {where}{done}", details))


def settle(
    trainer: Trainer, directory: RunDirectory, saved: SavedRun | None, callback: Callback
) -> None:
    """Makes room for a new run or branch, or cleans up after the crash of the resumed one."""
    if saved is not None and saved.path.resolve().parent == directory.path.resolve():
        # A crash may have come before `latest` named it, or `latest` may be lost.
        if directory.pointer("latest") != saved.path.name:
            directory.point("latest", saved.path.name)
        directory.remove_unfinished()
        best = trainer.progress.best_checkpoint
        if best is not None and directory.pointer("best") != best:
            directory.point("best", best)
        return
    if directory.checkpoints():
        staying = foreign_entries(directory)
        moved = directory.start_anew()
        message = f"'{directory.path}' held another run; it is now '{moved}'"
        if staying:
            message += f", without what is not a run's ({listed(staying, 3)}), which stays"
        callback.on_event(Event("previous_run_moved", message, {"path": str(moved)}))
    directory.clear()
    # A branch looks for its own best; the one before it stays where it was.
    trainer.progress.best_mse = trainer.progress.best_checkpoint = None


def tell_interrupted(trainer: Trainer, interrupt: GracefulInterrupt, callback: Callback) -> None:
    """Where a signal has stopped the run, and how to go on."""
    message = (
        f"stopped by {interrupt.signal_name} after "
        f"{counted(trainer.progress.epoch, 'epoch')} and "
        f"{counted(trainer.progress.step_in_epoch, 'step')}; saved '{trainer.checkpoint}', "
        f"continue with --resume {trainer.checkpoint}"
    )
    callback.on_event(Event("interrupted", message, {"checkpoint": str(trainer.checkpoint)}))
