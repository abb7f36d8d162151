"""The journey from a configuration to a trained model in a checkpoint folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spinlock.data.table import FeatureTable
from spinlock.distributed.launch import device_of_process, joined
from spinlock.distributed.world import World, WorldError
from spinlock.engine import IN_PROCESS, Engine
from spinlock.errors import ConfigError
from spinlock.training.callbacks import Callback, CallbackList, EpochRecord, Event, EventHandler
from spinlock.training.checkpoint import CheckpointWriter
from spinlock.training.continuing import read_to_continue, restore, settle, tell_interrupted
from spinlock.training.folder import RunDirectory
from spinlock.training.held_back import held_back_rows
from spinlock.training.interrupts import GracefulInterrupt
from spinlock.training.loop import Saver, Trainer
from spinlock.training.metrics import EvaluationMetrics
from spinlock.training.planning import precompute_compression_ratios
from spinlock.training.prepare import ignore, prepare
from spinlock.training.prepared import Prepared
from spinlock.training.resume import prepare_resumed
from spinlock.training.seeding import reproducible
from spinlock.training.shared_interrupt import SharedInterrupt
from spinlock.training.shared_run import lost_process, share_run
from spinlock.training.start import find_device, on_device, start_model
from spinlock.training.team import SharedSaver
from spinlock.training.tensorboard import TensorBoardLog, require_tensorboard
from spinlock.vqvae import CategoricalHierarchicalVQVAE, build_vqvae

if TYPE_CHECKING:
    from spinlock.config import TrainConfig

__all__ = ["TrainResult", "analyze", "precompute_compression_ratios", "prepare", "train"]


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a run ends with.

    Attributes:
        prepared: data, categories and plan.
        model: in evaluation mode, on the run's device.
        metrics: of the last epoch that was measured, None before one.
        history: one record per whole epoch, those before a resume included.
        checkpoint: the last checkpoint written or resumed from, None before one.
        best_checkpoint: the checkpoint with the lowest held-out mean MSE; None before one.
        signal_name: of the signal that ended the run, such as SIGTERM; None where none did.
        dry_run: nothing was trained.
        seconds: wall time of this call.
    """

    prepared: Prepared
    model: CategoricalHierarchicalVQVAE
    metrics: EvaluationMetrics | None
    history: tuple[EpochRecord, ...]
    checkpoint: Path | None
    best_checkpoint: Path | None
    signal_name: str | None
    dry_run: bool
    seconds: float

    @property
    def interrupted(self) -> bool:
        """A signal ended the run; resume from ``checkpoint``."""
        return self.signal_name is not None


def analyze(
    config: TrainConfig,
    *,
    table: FeatureTable | None = None,
    on_event: EventHandler = ignore,
    recompute_ratios: bool = False,
    engine: Engine = IN_PROCESS,
) -> Prepared:
    """Everything up to the first step on real data: what a dry run does; writes nothing.

    Builds and initialises the model as well, so that a configuration which passes here trains.
    Arguments are those of :func:`~spinlock.training.prepare.prepare`.

    Raises:
        ConfigError, DataError: as :func:`train`.
    """
    device = find_device(config.device)
    if config.logging.tensorboard_dir is not None:
        require_tensorboard()
    prepared = prepare(
        config, table=table, on_event=on_event, recompute_ratios=recompute_ratios, engine=engine
    )
    with reproducible(config.random_seed, device):
        start_model(prepared, on_device(prepared.train, device), on_event)
    return prepared


def train(
    config: TrainConfig,
    *,
    table: FeatureTable | None = None,
    resume: str | Path | None = None,
    dry_run: bool = False,
    recompute_ratios: bool = False,
    callbacks: Sequence[Callback] = (),
    engine: Engine = IN_PROCESS,
) -> TrainResult:
    """Runs a configuration from its data set to a trained model in ``training.checkpoint_dir``.

    The result depends on the configuration and the data only (same machine class, thread count
    and library versions), however often the run was stopped and resumed.  torch's global random
    state is put back afterwards.  SIGINT, SIGTERM and SIGHUP end the run after the current step
    with a checkpoint; a second one raises ``KeyboardInterrupt``.

    Args:
        config: the configuration.
        table: data in memory, used instead of ``config.dataset_path``, which becomes ``memory:``.
            To resume such a run, give the same table again.
        resume: ``"latest"`` (in ``training.checkpoint_dir``), a checkpoint folder, or a
            checkpoint_dir whose latest is meant; None starts a new run, and moves the checkpoints
            of an earlier one in the same directory aside.
        dry_run: stop before the first step; writes nothing.
        recompute_ratios: measure ``auto`` ratios although the configuration carries computed ones.
        callbacks: are told of events, steps, epochs and checkpoints.
        engine: reads the data set and measures it, as in
            :func:`~spinlock.training.prepare.prepare`; training is here in any case.

    Raises:
        ConfigError: a configuration that does not fit the data, the device or the resumed run.
        DataError: data that cannot be used, or a loss that became infinite or NaN.
        CheckpointError: a checkpoint that cannot be read or written.
    """
    if resume is not None and recompute_ratios:
        raise ConfigError(
            "--recompute-ratios would change the model that --resume continues: start a new run "
            "without --resume, or resume without --recompute-ratios"
        )
    directory = RunDirectory(Path(config.training.checkpoint_dir))
    with ExitStack() as stack:
        world = stack.enter_context(joined(config.device))
        leads = world is None or world.first
        callbacks = callbacks if leads else ()
        callback = CallbackList(callbacks)
        if not dry_run and leads:
            # Held before a checkpoint is looked for: another run must not write a later one.
            stack.enter_context(directory.held())
        if config.logging.tensorboard_dir is not None and not dry_run and leads:
            log = TensorBoardLog(Path(config.logging.tensorboard_dir), callback.on_event)
            callback = CallbackList([*callbacks, stack.enter_context(log)])
        if not directory.lock.supported:
            message = f"'{directory.path}' cannot be locked: let only one run at a time write to it"
            callback.on_event(Event("no_lock", message))
        return _run(
            config,
            directory,
            callback,
            world,
            table=table,
            resume=resume,
            dry_run=dry_run,
            recompute_ratios=recompute_ratios,
            engine=engine,
        )


def _run(
    config: TrainConfig,
    directory: RunDirectory,
    callback: Callback,
    world: World | None,
    *,
    table: FeatureTable | None,
    resume: str | Path | None,
    dry_run: bool,
    recompute_ratios: bool,
    engine: Engine,
) -> TrainResult:
    """:func:`train` once the directory is held."""
    started = time.perf_counter()
    device = find_device(config.device if world is None else device_of_process(config.device))
    saved, prepared, team = None, None, None
    if world is None or world.first:
        saved = None if resume is None else read_to_continue(resume, config, directory)
        if saved is None:
            prepared = prepare(
                config,
                table=table,
                on_event=callback.on_event,
                recompute_ratios=recompute_ratios,
                engine=engine,
            )
        else:
            prepared = prepare_resumed(config, saved, callback.on_event, table, engine)
        callback.on_prepared(prepared)
    saver: Saver | None = None
    if prepared is not None:
        saver = CheckpointWriter(directory, prepared, config.training.keep_checkpoints)
    mine = prepared
    if world is not None:
        saved, saver = world.object_from_first(saved), SharedSaver(world, saver)
        mine, team = share_run(prepared, config, world, table, callback.on_event)
        prepared = prepared or mine
    assert prepared is not None
    assert mine is not None
    with reproducible(config.random_seed, device):
        trained, held_back = held_back_rows(
            len(mine.train), prepared.config.training, config.random_seed
        )
        rows = on_device(mine.train[trained.numpy()], device)
        if saved is None:
            model = start_model(prepared, rows, callback.on_event, team)
        else:
            model = build_vqvae(prepared.model_config).to(device)
        trainer = Trainer(
            model,
            rows,
            on_device(mine.validation, device),
            prepared.config.training,
            seed=config.random_seed,
            callback=callback,
            saver=saver,
            team=team,
            judging=on_device(mine.train[held_back.numpy()], device),
        )
        if saved is not None:
            restore(trainer, saved, callback)
        signal_name: str | None = None
        if not dry_run:
            if world is None or world.first:
                settle(trainer, directory, saved, callback)
            if team is not None:
                team.share_best(trainer.progress)
            with GracefulInterrupt() if team is None else SharedInterrupt() as interrupt:
                try:
                    if trainer.run(interrupt):
                        signal_name = interrupt.signal_name
                except WorldError as error:
                    # The other may have been lost after one was written, before all heard of it.
                    written = trainer.checkpoint or directory.latest()
                    raise lost_process(error, written) from error
            if signal_name is not None:
                tell_interrupted(trainer, interrupt, callback)
    best = trainer.progress.best_checkpoint
    return TrainResult(
        prepared=prepared,
        model=model.eval(),
        metrics=trainer.progress.metrics,
        history=tuple(trainer.progress.history),
        checkpoint=trainer.checkpoint,
        best_checkpoint=None if best is None else directory.path / best,
        signal_name=signal_name,
        dry_run=dry_run,
        seconds=time.perf_counter() - started,
    )
