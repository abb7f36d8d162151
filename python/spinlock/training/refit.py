"""Rounds after training: rows are swept, codebooks and decoder refitted to their tokens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spinlock.training.callbacks import EpochRecord, Event
from spinlock.training.eager_adam import Adam
from spinlock.training.epoch_losses import EpochLosses
from spinlock.training.interrupts import GracefulInterrupt
from spinlock.training.metrics import EvaluationMetrics, evaluate
from spinlock.training.optim import LearningRateSchedule
from spinlock.training.refit_fitting import (
    CodeUse,
    category_error,
    encoded,
    fitted_tensors,
    settle_sums,
    token_loss,
)
from spinlock.training.seeding import Stream, generator
from spinlock.training.wording import counted

if TYPE_CHECKING:
    from spinlock.training.loop import Trainer

_CHECK_EVERY = 64


class RefitRounds:
    """What a trainer does after its last epoch, where ``training.refit.rounds`` is above 0.

    A round encodes the training rows by sweeps from the tokens of the round before, and then fits
    codebooks and decoder to those tokens by Adam, its rate falling along half a cosine; encoders
    keep still, so that sweeps still start from near by.  Rounds end when the trainer's ``judging``
    rows, which the network and its codebooks were not fitted to, no longer come out closer, encoded
    as any other would be, and the best round's codes and decoder stay.  Its epochs are counted on
    behind those of training.

    Args:
        trainer: whose model is refitted and whose progress is moved on.
        save: writes a checkpoint; told whether it is the best so far.
        require_finite: raises where the model's state is not finite after an epoch.

    Attributes:
        begun: training is over and refitting has started.
        done: no round comes any more.
        rounds: whole rounds so far.
        kept_round: the round whose result stands; 0 for the model as it was trained.
        errors: held-back error per round, mean over categories; the first is from before round 1.
    """

    def __init__(
        self,
        trainer: Trainer,
        save: Callable[[bool], None],
        require_finite: Callable[[int], None],
    ) -> None:
        self.trainer = trainer
        self.settings = trainer.settings.refit
        self._save, self._require_finite = save, require_finite
        self.begun = self.done = False
        self.rounds = self.kept_round = 0
        self.errors: list[float] = []
        self._epoch_in_round = 0
        self._best: list[Tensor] = []
        self._tokens: Tensor | None = None
        self._optimizer_state: dict[str, Any] | None = None
        self.batch_size, self.steps_per_epoch = trainer.batch_size, trainer.steps_per_epoch
        self.losses = EpochLosses(self.steps_per_epoch)
        self.schedule = LearningRateSchedule(
            "cosine",
            self.settings.learning_rate,
            total_steps=self.settings.epochs * self.steps_per_epoch,
        )

    def run(self, interrupt: GracefulInterrupt) -> bool:
        """Goes on to the end or to a signal; True where a signal came first."""
        if self.done:
            return False
        if interrupt.requested:
            return True
        if not self.begun:
            self._begin()
        whole = True
        while whole and self._goes_on():
            whole = self._run_round(interrupt)
        return not whole

    def to_state(self) -> dict[str, Any]:
        """All that continuing needs beside the model's own state."""
        return {
            "begun": self.begun,
            "done": self.done,
            "rounds": self.rounds,
            "kept_round": self.kept_round,
            "errors": list(self.errors),
            "epoch_in_round": self._epoch_in_round,
            "best": list(self._best),
            "tokens": self._tokens,
            "optimizer": self._optimizer_state,
            "losses": self.losses.to_state(self.trainer.progress.step_in_epoch),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continues from :meth:`to_state`; the model's own state is loaded by the caller.

        Raises:
            ValueError: a state of other rows.
        """
        device, tokens = self.trainer.train.device, state["tokens"]
        if tokens is not None and len(tokens) != len(self.trainer.train):
            raise ValueError(f"tokens of {len(tokens)} rows, not of {len(self.trainer.train)}")
        self.begun, self.done = bool(state["begun"]), bool(state["done"])
        self.rounds, self.kept_round = int(state["rounds"]), int(state["kept_round"])
        self.errors = [float(error) for error in state["errors"]]
        self._epoch_in_round = int(state["epoch_in_round"])
        self._best = [tensor.to(device) for tensor in state["best"]]
        self._tokens = None if tokens is None else tokens.to(device)
        self._optimizer_state = state["optimizer"]
        if self.begun:
            self.losses.load_state(state["losses"], device)

    def _goes_on(self) -> bool:
        return not self.done

    def _write(self, best: bool) -> None:
        settle_sums(self.trainer.model)
        self._save(best)

    def _begin(self) -> None:
        self.begun, self.trainer.progress.finished = True, False
        with fitted_tensors(self.trainer.model) as tensors:
            self._best = _copies(tensors)
        self._measure()
        settings = self.settings
        message = (
            f"refitting codebooks and decoder: up to {counted(settings.rounds, 'round')} of "
            f"{counted(settings.epochs, 'epoch')}, judged by "
            f"{counted(len(self.trainer.judging), 'row')} that the network and its codebooks were "
            "not fitted to"
        )
        details = {"rounds": settings.rounds, "epochs": settings.epochs}
        self.trainer.callback.on_event(Event("refit", message, details))

    def _run_round(self, interrupt: GracefulInterrupt) -> bool:
        """To the end of the round that is next or under way; False where a signal came before."""
        trainer = self.trainer
        trainer.model.train()
        with fitted_tensors(trainer.model) as tensors:
            optimizer = Adam(tensors, lr=self.settings.learning_rate, fused=True)
            rows = trainer.train
            if self._optimizer_state is None:
                self._tokens = self._encoded(rows, self._tokens)
            else:
                optimizer.load_state_dict(self._optimizer_state)
            assert self._tokens is not None
            use = CodeUse.of(trainer.model, self._tokens)
            while True:
                whole = self._run_epoch(interrupt, optimizer, tensors, rows, self._tokens)
                self._optimizer_state = optimizer.state_dict()
                self._require_finite(trainer.progress.epoch + 1)
                if not whole:
                    self._write(False)
                    return False
                last = self._epoch_in_round + 1 == self.settings.epochs
                if last:
                    self._end_round(tensors)
                stopped = self._end_epoch(use, interrupt, measured=last)
                if last or stopped:
                    return not stopped

    def _run_epoch(
        self,
        interrupt: GracefulInterrupt,
        optimizer: Adam,
        tensors: list[Tensor],
        rows: Tensor,
        tokens: Tensor,
    ) -> bool:
        """Steps to the end of the epoch; False where a signal came before it."""
        trainer, progress = self.trainer, self.trainer.progress
        epoch, started = progress.epoch + 1, time.perf_counter() - progress.seconds_in_epoch
        order = torch.randperm(
            len(rows), generator=generator(trainer.seed, Stream.BATCH_ORDER, epoch)
        ).to(rows.device)
        trainer.model.train()
        while progress.step_in_epoch < self.steps_per_epoch:
            step = progress.step_in_epoch
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            self.schedule.apply(optimizer, self._epoch_in_round * self.steps_per_epoch + step)
            loss = token_loss(trainer.model, rows[chosen], tokens[chosen].long())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if trainer.settings.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(tensors, trainer.settings.gradient_clip)
            optimizer.step()
            self.losses.record(step, {"reconstruction": loss.detach(), "total": loss.detach()})
            progress.step_in_epoch += 1
            at_end = progress.step_in_epoch == self.steps_per_epoch
            if at_end or interrupt.requested or progress.step_in_epoch % _CHECK_EVERY == 0:
                remedy = (
                    "Lower training.refit.learning_rate (now "
                    f"{self.settings.learning_rate:g}) or set training.gradient_clip."
                )
                self.losses.require_finite(progress.step_in_epoch, epoch, remedy)
            trainer.callback.on_step_end(epoch, progress.step_in_epoch)
            if interrupt.requested and not at_end:
                break
        progress.seconds_in_epoch = time.perf_counter() - started
        return progress.step_in_epoch == self.steps_per_epoch

    def _end_round(self, tensors: list[Tensor]) -> None:
        """Keeps the round, or ends with the best before it; the next one starts afresh."""
        self.rounds += 1
        self._optimizer_state = None
        better = self._measure()
        if better:
            self.kept_round, self._best = self.rounds, _copies(tensors)
        elif len(self.trainer.judging):
            with torch.no_grad():
                for tensor, best in zip(tensors, self._best, strict=True):
                    tensor.copy_(best)
        self.done = not better or self.rounds == self.settings.rounds
        if self.done:
            self._best, self._tokens = [], None

    def _end_epoch(self, use: CodeUse, interrupt: GracefulInterrupt, *, measured: bool) -> bool:
        """History and checkpoint; True where a signal came before the end of the run."""
        trainer, progress = self.trainer, self.trainer.progress
        started = time.perf_counter()
        metrics: EvaluationMetrics | None = None
        if measured:
            metrics = evaluate(trainer.model, trainer.measured, dead_codes=use.dead)
        progress.epoch += 1
        before = progress.history[-1].step if progress.history else 0
        within = self._epoch_in_round * self.steps_per_epoch + self.steps_per_epoch - 1
        record = EpochRecord(
            epoch=progress.epoch,
            step=before + self.steps_per_epoch,
            learning_rate=self.schedule.at(within),
            losses=self.losses.means(),
            utilization=use.utilization,
            perplexity=use.perplexity,
            dead_codes=use.dead,
            revived=0,
            validation=metrics,
            split=trainer.split,
            seconds=progress.seconds_in_epoch + time.perf_counter() - started,
            refit_round=self.rounds if measured else self.rounds + 1,
        )
        progress.history.append(record)
        progress.step_in_epoch, progress.seconds_in_epoch = 0, 0.0
        self._epoch_in_round = 0 if measured else self._epoch_in_round + 1
        progress.finished = self.done
        trainer.callback.on_epoch_end(record)
        if self.done:
            self._tell_end()
        stop = interrupt.requested
        due = progress.epoch % trainer.settings.checkpoint_every_n_epochs == 0
        if trainer.saver is not None and (due or stop or self.done):
            self._write(progress.note_candidate(metrics))
        return stop and not self.done

    def _measure(self) -> bool:
        """Notes the error of the rows held back; whether it is the least so far."""
        judging = self.trainer.judging
        if not len(judging):
            return True
        error = category_error(self.trainer.model, judging, self._encoded(judging, None))
        better = not self.errors or error < min(self.errors)
        self.errors.append(error)
        return better

    def _encoded(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        callback, settings = self.trainer.callback, self.settings
        limit = settings.own_error_limit
        found = x, tokens, settings.sweeps, callback.on_event, "re-encoding"
        return encoded(self.trainer.model, *found, limit)

    def _tell_end(self) -> None:
        message = f"refitted in {counted(self.rounds, 'round')}"
        if self.errors:
            message += (
                f", kept round {self.kept_round}: error of the rows held back "
                f"{self.errors[0]:.4g} before, {min(self.errors):.4g} now"
            )
        details = {
            "rounds": self.rounds, "kept_round": self.kept_round, "errors": list(self.errors)
        }  # fmt: skip
        self.trainer.callback.on_event(Event("refitted", message, details))


def _copies(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]
