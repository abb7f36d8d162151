"""The training loop: steps, epochs, validation, revival, checkpoints; it can stop anywhere."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from spinlock.distributed.world import add_up
from spinlock.training.callbacks import Callback, EpochRecord
from spinlock.training.captured_step import StepRunner
from spinlock.training.divergence import remedy_for, require_finite, require_finite_state
from spinlock.training.early_stopping import EarlyStopping
from spinlock.training.epoch_losses import EpochLosses
from spinlock.training.interrupts import GracefulInterrupt
from spinlock.training.metrics import EvaluationMetrics, evaluate
from spinlock.training.optim import (
    LearningRateSchedule,
    build_optimizer,
    make_capturable,
    optimizer_state,
)
from spinlock.training.progress import Progress
from spinlock.training.refit import RefitRounds
from spinlock.training.seeding import Stream, generator, restore_rng_state, rng_state, sample_rows
from spinlock.training.shared_interrupt import SharedInterrupt
from spinlock.training.team import Team
from spinlock.training.telling import announce, tell_early_stop
from spinlock.training.threads import collecting_less, limited_threads, threads_for
from spinlock.vqvae import CategoricalHierarchicalVQVAE

if TYPE_CHECKING:
    from spinlock.config import TrainingConfig

_DONOR_ROWS = 512
_CHECK_EVERY = 64


class Saver(Protocol):
    """Writes checkpoints of a trainer."""

    def save(self, trainer: Trainer, *, best: bool) -> Path:
        """Writes one as the trainer stands; ``best``: it has the lowest error so far."""
        ...


class Trainer:
    """Trains a model that has been initialised, from wherever ``progress`` stands.

    Two runs with equal arguments end with the same weights, bit for bit, however often they are
    stopped and continued through :meth:`state` and :meth:`load_state` in between (same machine
    class, thread count and library versions).

    Args:
        model: on its device.
        train: float32 ``[N, D]`` on the same device, at least one row.
        validation: held-out rows ``[M, D]``; with no rows the training rows are measured instead.
        settings: the ``training`` section of the configuration.
        seed: of the batch order and of the donors of revived codes.
        callback: is told of steps, epochs and events.
        saver: writes checkpoints; None trains without any.
        team: other processes that train the same model; ``train`` and ``validation`` are then the
            rows of this one.
        judging: normalised rows ``[n, N]`` that judge refit rounds and are not among ``train``;
            without any every round is kept.

    Attributes:
        progress: where the run stands.
        threads: CPU threads; those of the run that is continued, for they decide the last bits.
        checkpoint: the last checkpoint written, or None.
    """

    def __init__(
        self,
        model: CategoricalHierarchicalVQVAE,
        train: Tensor,
        validation: Tensor,
        settings: TrainingConfig,
        *,
        seed: int,
        callback: Callback | None = None,
        saver: Saver | None = None,
        team: Team | None = None,
        judging: Tensor | None = None,
    ) -> None:
        self.model = model
        self.judging = train[:0] if judging is None else judging
        self.train = train
        self.team = team
        self.num_rows = len(train) if team is None else team.train.total
        held_out = len(validation) if team is None else team.validation.total
        self.measured = validation if held_out else train
        self.split = "validation" if held_out else "training"
        self.settings = settings
        self.seed = seed
        self.callback = callback or Callback()
        self.saver = saver
        self.batch_size = min(settings.batch_size, self.num_rows)
        self.steps_per_epoch = self.num_rows // self.batch_size
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.runner = StepRunner(
            self._train_step,
            train,
            self.batch_size,
            # Of a team each process has another number of rows in each step.
            wanted=settings.cuda_graph if team is None else False,
            on_event=self.callback.on_event,
        )
        self.optimizer = build_optimizer(
            model,
            settings.optimizer,
            settings.learning_rate,
            settings.weight_decay,
            capturable=self.runner.captures,
        )
        self.schedule = LearningRateSchedule(
            settings.scheduler,
            settings.learning_rate,
            total_steps=settings.num_epochs * self.steps_per_epoch,
            warmup_steps=settings.warmup_epochs * self.steps_per_epoch,
        )
        self.early_stopping = EarlyStopping(
            settings.early_stopping_patience, settings.early_stopping_min_delta
        )
        here = self.batch_size if team is None else -(-self.batch_size // team.world.size)
        self.threads = threads_for(model, here, settings.num_threads)
        self.losses = EpochLosses(self.steps_per_epoch)
        self.progress = Progress()
        self.checkpoint: Path | None = None
        self.refit: RefitRounds | None = None
        if settings.refit.rounds:
            save = self._save
            self.refit = RefitRounds(self, lambda best: save(best=best), self._require_finite_state)

    @property
    def finished(self) -> bool:
        """Nothing is left to do: epochs and refit rounds are over."""
        return self.progress.finished and (self.refit is None or self.refit.done)

    def run(self, interrupt: GracefulInterrupt | None = None) -> bool:
        """Trains to the end or to a signal; True where a signal came first.

        Raises:
            DataError: a loss became infinite or NaN; earlier checkpoints stay.
            CheckpointError: a checkpoint could not be written.
        """
        interrupt = interrupt or GracefulInterrupt()
        if self.team is not None and isinstance(interrupt, SharedInterrupt):
            self.team.interrupt = interrupt
        if not self.finished:
            announce(self)
        refit = self.refit
        with limited_threads(self.threads), collecting_less():
            while not (self.progress.finished or (refit is not None and refit.begun)):
                if not self._run_epoch(interrupt):
                    self._require_finite_state(self.progress.epoch + 1)
                    self._save(best=False)
                    return True
                metrics = self._end_epoch()
                # Read once: a signal while this saves is for the next epoch, which saves again.
                stop = interrupt.requested
                self._save_if_due(metrics, stop)
                if stop and not self.progress.finished:
                    return True
            return refit is not None and refit.run(interrupt)

    def state(self) -> dict[str, Any]:
        """All that continuing needs beside the model's own state."""
        return {
            "progress": self.progress.to_state(),
            "batch_size": self.batch_size,
            "steps_per_epoch": self.steps_per_epoch,
            "threads": self.threads,
            **({} if self.team is None else {"processes": self.team.world.size}),
            "losses": self.losses.to_state(self.progress.step_in_epoch),
            "early_stopping": self.early_stopping.to_state(),
            "optimizer": optimizer_state(self.optimizer),
            "rng": rng_state(self.train.device),
            **({} if self.refit is None else {"refit": self.refit.to_state()}),
        }

    def load_state(self, state: dict[str, Any], history: list[EpochRecord]) -> None:
        """Continues from :meth:`state`; the model's own state is loaded by the caller.

        Raises:
            ValueError: a state of other steps, or at a position that does not exist.
        """
        progress = Progress.from_state(state["progress"], history)
        rows, steps = state["batch_size"], state["steps_per_epoch"]
        if (rows, steps) != (self.batch_size, self.steps_per_epoch):
            raise ValueError(f"{steps} steps of {rows} rows per epoch")
        progress.require_within(self.settings.total_epochs, self.steps_per_epoch)
        self.progress = progress
        self.threads = int(state["threads"])
        self.losses.load_state(state["losses"], self.train.device)
        self.early_stopping.load_state(state["early_stopping"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.runner.captures:
            make_capturable(self.optimizer)
        if self.refit is not None and "refit" in state:  # a run that did not want rounds has none
            self.refit.load_state(state["refit"])
        restore_rng_state(state["rng"], self.train.device)

    def _run_epoch(self, interrupt: GracefulInterrupt) -> bool:
        """Steps to the end of the epoch; False where a signal came before it."""
        progress, epoch = self.progress, self.progress.epoch + 1
        started = time.perf_counter() - progress.seconds_in_epoch
        order = torch.randperm(
            self.num_rows, generator=generator(self.seed, Stream.BATCH_ORDER, epoch)
        ).to(self.train.device)
        self.model.train()
        if progress.step_in_epoch == 0:
            self.model.reset_usage()
        while progress.step_in_epoch < self.steps_per_epoch:
            start = progress.step_in_epoch * self.batch_size
            self._step(order[start : start + self.batch_size])
            progress.step_in_epoch += 1
            at_end = progress.step_in_epoch == self.steps_per_epoch
            if at_end or interrupt.requested or progress.step_in_epoch % _CHECK_EVERY == 0:
                self.losses.require_finite(progress.step_in_epoch, epoch, self._remedy)
            self.callback.on_step_end(epoch, progress.step_in_epoch)
            if interrupt.requested and not at_end:
                break
        progress.seconds_in_epoch = time.perf_counter() - started
        return progress.step_in_epoch == self.steps_per_epoch

    def _step(self, rows: Tensor) -> None:
        step = self.progress.epoch * self.steps_per_epoch + self.progress.step_in_epoch
        self.schedule.apply(self.optimizer, step)
        if self.team is not None:
            rows = self.team.train.held(rows)[1].to(self.train.device)
            if self.model.config.dropout > 0:
                self.team.seed_dropout(self.seed, step)
        self.losses.record(self.progress.step_in_epoch, self.runner(self.train, rows))

    def _train_step(self, batch: Tensor) -> dict[str, Tensor]:
        """What a CUDA graph may hold: it waits for nothing, and moves nothing in memory."""
        lower = self.settings.autocast is not None
        # Each weight is used once in a step: nothing is gained by keeping it in bfloat16.
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=lower, cache_enabled=False):
            losses = self.model(batch).losses
        self.optimizer.zero_grad(set_to_none=True)
        if self.team is None:
            losses["total"].backward()
        else:
            losses = self.team.backward(losses, len(batch) / self.batch_size, self.parameters)
        if self.settings.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        self.optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def _end_epoch(self) -> EvaluationMetrics | None:
        """Usage, revival, validation, history, early stopping; the epoch's metrics if measured."""
        progress, settings = self.progress, self.settings
        started = time.perf_counter()
        progress.epoch += 1
        self._require_finite_state(progress.epoch)
        usage = self.model.usage()
        revived = self._revive()
        last = progress.epoch == settings.num_epochs
        metrics = None
        if last or progress.epoch % settings.val_every_n_epochs == 0:
            add = None if self.team is None else add_up
            metrics = evaluate(self.model, self.measured, dead_codes=int(usage.dead), add_up=add)
            measured = math.isfinite(metrics.mean_mse)
            require_finite(measured, f"the {self.split} error", progress.epoch, self._remedy)
            self.early_stopping.update(progress.epoch, metrics.mean_mse)
        step = progress.epoch * self.steps_per_epoch
        record = EpochRecord(
            epoch=progress.epoch,
            step=step,
            learning_rate=self.schedule.at(step - 1),
            losses=self.losses.means(),
            utilization=float(usage.utilization.double().mean()),
            perplexity=float(usage.perplexity.double().mean()),
            dead_codes=int(usage.dead),
            revived=revived,
            validation=metrics,
            split=self.split,
            seconds=progress.seconds_in_epoch + time.perf_counter() - started,
        )
        progress.history.append(record)
        progress.step_in_epoch, progress.seconds_in_epoch = 0, 0.0
        stopped = metrics is not None and self.early_stopping.should_stop
        progress.finished = last or stopped
        self.callback.on_epoch_end(record)
        if stopped and not last:
            tell_early_stop(self)
        return metrics

    def _revive(self) -> int:
        """Moves dead codes onto a seeded sample of training rows, if it is time for that."""
        settings, epoch = self.settings, self.progress.epoch
        until = settings.dead_code_stop_fraction * settings.num_epochs
        if epoch % settings.dead_code_interval != 0 or epoch > until:
            return 0
        source = generator(self.seed, Stream.REVIVAL, epoch)
        count, threshold = max(self.batch_size, _DONOR_ROWS), settings.dead_code_threshold
        if self.team is not None:
            donors = self.team.sample_rows(self.train, count, source)
            return self.team.revive(self.model, donors, threshold, source)
        donors = sample_rows(self.train, count, source)
        return self.model.revive(donors, threshold, source)

    def _save_if_due(self, metrics: EvaluationMetrics | None, interrupted: bool) -> None:
        due = self.progress.epoch % self.settings.checkpoint_every_n_epochs == 0
        if self.saver is not None and (due or interrupted or self.progress.finished):
            self._save(best=self.progress.note_candidate(metrics))

    def _save(self, *, best: bool) -> None:
        if self.saver is not None:
            self.checkpoint = self.saver.save(self, best=best)
            self.callback.on_checkpoint(self.checkpoint)

    def _require_finite_state(self, epoch: int) -> None:
        require_finite_state(self.model, epoch, self._remedy)

    @property
    def _remedy(self) -> str:
        return remedy_for(self.settings, self.checkpoint)
