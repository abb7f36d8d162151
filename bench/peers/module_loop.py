"""The peer of spinlock's training: one ``nn.Module`` per category and level, in Python loops.

    python -m bench.peers.module_loop --config configs/vqvae/seed_shape.yaml --epochs 3
    python -m bench.peers.module_loop --config configs/vqvae/seed_shape.yaml --check

A whole process: data are loaded, cleaned, grouped, planned and normalised by spinlock, so that
both train on the same rows with the same sizes; model, initialisation and loop are the peer's.
The loop has spinlock's losses, optimizer (fused Adam), schedule, batch order, revival and a
validation per epoch; it counts no usage, looks for no NaN and saves its weights once, at the end.
``--check`` compares the losses of the first 5 steps with spinlock's, from the same weights.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.peers.module_loop_model import LoopVQVAE
from bench.peers.module_loop_state import build_loop, copy_weights, initialise, revive
from bench.peers.whole_run import Measured, WholeRun, arguments_parser, config_of, report
from spinlock.training.metrics import EvaluationMetrics, evaluate
from spinlock.training.optim import LearningRateSchedule, build_optimizer
from spinlock.training.prepare import prepare
from spinlock.training.seeding import Stream, generator, reproducible, sample_rows
from spinlock.vqvae import build_vqvae

if TYPE_CHECKING:
    from spinlock.config import TrainingConfig
    from spinlock.training.callbacks import Event
    from spinlock.training.prepared import Prepared

__all__ = ["TOLERANCE", "check_equal_losses", "main", "train_loop"]

TOLERANCE = 1e-4
"""The most by which a loss term of the first steps may differ from spinlock's, relative to it."""

_DONOR_ROWS = 512

EpochEnd = Callable[[dict[str, float], EvaluationMetrics, float], None]


def train_loop(
    model: LoopVQVAE,
    train: Tensor,
    validation: Tensor,
    settings: TrainingConfig,
    seed: int,
    on_epoch_end: EpochEnd,
    on_train_begin: Callable[[], None] = lambda: None,
) -> None:
    """Trains an initialised model for all its epochs, each followed by revival and validation.

    Args:
        model: changed in place.
        train: float32 ``[N, D]``.
        validation: float32 ``[M, D]``, M >= 1.
        settings: the ``training`` section.
        seed: of the batch order and of the donors of revived codes.
        on_train_begin: is called when the optimizer stands and the first step comes next.
        on_epoch_end: is told the mean of each loss term, the metrics and the epoch's seconds.
    """
    steps = _Steps(model, train, settings, seed)
    on_train_begin()
    rows = max(steps.batch_size, _DONOR_ROWS)
    revived_until = settings.dead_code_stop_fraction * settings.num_epochs
    for epoch in range(1, settings.num_epochs + 1):
        started = time.perf_counter()
        model.train()
        losses = list(steps.epoch(epoch))
        if epoch % settings.dead_code_interval == 0 and epoch <= revived_until:
            source = generator(seed, Stream.REVIVAL, epoch)
            donors = sample_rows(train, rows, source)
            revive(model, donors, settings.dead_code_threshold, source)
        # It has encode, quantize, decode and config, which is all that measuring takes.
        metrics = evaluate(cast(Any, model), validation)
        means = {name: float(torch.stack([s[name] for s in losses]).mean()) for name in losses[0]}
        on_epoch_end(means, metrics, time.perf_counter() - started)


class _Steps:
    """Optimizer steps of either model, in the order of spinlock's training."""

    def __init__(
        self, model: nn.Module, train: Tensor, settings: TrainingConfig, seed: int
    ) -> None:
        self.model, self.train, self.seed = model, train, seed
        self.clip = settings.gradient_clip
        self.batch_size = min(settings.batch_size, len(train))
        self.per_epoch = len(train) // self.batch_size
        self.optimizer = build_optimizer(
            model, settings.optimizer, settings.learning_rate, settings.weight_decay
        )
        self.schedule = LearningRateSchedule(
            settings.scheduler,
            settings.learning_rate,
            total_steps=settings.num_epochs * self.per_epoch,
            warmup_steps=settings.warmup_epochs * self.per_epoch,
        )

    def epoch(self, epoch: int) -> Iterator[dict[str, Tensor]]:
        """The loss terms of each step of an epoch, counted from 1."""
        source = generator(self.seed, Stream.BATCH_ORDER, epoch)
        order = torch.randperm(len(self.train), generator=source)
        for step in range(self.per_epoch):
            chosen = order[step * self.batch_size : (step + 1) * self.batch_size]
            losses = self.model(self.train.index_select(0, chosen)).losses
            self.optimizer.zero_grad(set_to_none=True)
            losses["total"].backward()
            if self.clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.schedule.apply(self.optimizer, (epoch - 1) * self.per_epoch + step)
            self.optimizer.step()
            yield {name: loss.detach() for name, loss in losses.items()}


def check_equal_losses(
    prepared: Prepared, *, steps: int = 5, change: Callable[[LoopVQVAE], None] | None = None
) -> float:
    """The largest relative difference of any loss term in the first steps of both models.

    Both start from the same weights, codes and statistics and see the same batches.

    Args:
        prepared: data and plan; ``dropout`` has to be 0.
        steps: optimizer steps, over as many epochs as they take.
        change: is applied to the peer's model before the first step (a test breaks it).

    Raises:
        BenchError: more than TOLERANCE.
    """
    config, settings = prepared.config, prepared.config.training
    train = torch.as_tensor(prepared.train)
    with reproducible(config.random_seed, torch.device("cpu")):
        ours = build_vqvae(prepared.model_config)
        source = generator(config.random_seed, Stream.INITIALISATION)
        ours.initialize_from(train, source)
        theirs = build_loop(prepared.model_config)
        copy_weights(ours, theirs)
        if change is not None:
            change(theirs)
        runs = [
            _first(_Steps(model.train(), train, settings, config.random_seed), steps)
            for model in (ours, theirs)
        ]
    worst, where = 0.0, ""
    for step, (own, peers) in enumerate(zip(*runs, strict=True), start=1):
        if own.keys() != peers.keys():
            raise BenchError(f"module_loop: expected the loss terms {[*own]}, got {[*peers]}")
        for name, loss in own.items():
            difference = abs(peers[name] - loss) / max(abs(loss), 1e-12)
            if not difference <= worst:
                worst, where = difference, f"'{name}' of step {step}: {peers[name]} for {loss}"
    if not worst <= TOLERANCE:
        raise BenchError(
            f"module_loop: expected spinlock's losses over the first {steps} steps within "
            f"{TOLERANCE:g}, got {where}; speeds of different models are not comparable"
        )
    return worst


def _first(steps: _Steps, count: int) -> list[dict[str, float]]:
    losses: list[dict[str, float]] = []
    epoch = 1
    while len(losses) < count:
        losses += [{k: float(v) for k, v in terms.items()} for terms in steps.epoch(epoch)]
        epoch += 1
    return losses[:count]


def main(arguments: list[str] | None = None) -> int:
    """Trains once and prints the report, or checks the losses; returns the exit code."""
    parser = arguments_parser(str(__doc__).splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare losses with spinlock's")
    options = parser.parse_args(arguments)
    run = WholeRun()
    run.stamp("imported")
    config = config_of(options)
    torch.set_num_threads(options.threads)

    def on_event(event: Event) -> None:
        if event.kind == "cleaned":
            run.stamp("cleaned")

    prepared = prepare(config, on_event=on_event)
    if options.check:
        print(f"{check_equal_losses(prepared):.3g}")
        return 0
    run.stamp("prepared")
    run.bits = prepared.plan.bits
    run.training_rows, run.features = prepared.train.shape
    run.held_out_rows = len(prepared.validation)

    def on_epoch_end(losses: dict[str, float], metrics: EvaluationMetrics, seconds: float) -> None:
        del losses
        run.measured.append(Measured(time.monotonic(), metrics.feature_mse, seconds))
        run.category_mse = list(metrics.category_mse.values())

    torch.manual_seed(config.random_seed)
    train, validation = torch.as_tensor(prepared.train), torch.as_tensor(prepared.validation)
    model = build_loop(prepared.model_config)
    initialise(model, train, generator(config.random_seed, Stream.INITIALISATION))
    train_loop(
        model,
        train,
        validation,
        config.training,
        config.random_seed,
        on_epoch_end,
        on_train_begin=lambda: run.stamp("training"),
    )
    with tempfile.TemporaryDirectory() as folder:
        torch.save(model.state_dict(), Path(folder) / "model.pt")
    report(run, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
