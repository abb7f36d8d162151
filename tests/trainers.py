"""Small trainers on random rows, for the tests of the loop."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spinlock.config import TrainingConfig
from spinlock.training.callbacks import Callback, EpochRecord, Event, RunInfo
from spinlock.training.held_back import held_back_rows
from spinlock.training.interrupts import GracefulInterrupt
from spinlock.training.loop import Trainer
from spinlock.training.seeding import Stream, generator, reproducible
from spinlock.vqvae import CategoricalVQVAEConfig, build_vqvae

SIZES = (5, 3)


class Record(Callback):
    """Keeps what it hears, and asks for an interrupt after given steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.interrupt = GracefulInterrupt()
        self.events: list[Event] = []
        self.epochs: list[EpochRecord] = []
        self.runs: list[RunInfo] = []
        self.steps: list[tuple[int, int]] = []
        self.stop_after = stop_after

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_train_begin(self, run: RunInfo) -> None:
        self.runs.append(run)

    def on_step_end(self, epoch: int, step: int) -> None:
        self.steps.append((epoch, step))
        if len(self.steps) == self.stop_after:
            self.interrupt.requested = True

    def on_epoch_end(self, record: EpochRecord) -> None:
        self.epochs.append(record)


def rows(count: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    factors = torch.randn(count, 3, generator=source)
    mixing = torch.randn(3, sum(SIZES), generator=torch.Generator().manual_seed(9))
    return factors @ mixing + 0.2 * torch.randn(count, sum(SIZES), generator=source)


def make_trainer(
    callback: Callback | None = None,
    *,
    model: dict[str, Any] | None = None,
    train: Tensor | None = None,
    validation: Tensor | None = None,
    **settings: Any,
) -> Trainer:
    """A trainer whose model is a function of its arguments; call it within ``reproducible``."""
    config = CategoricalVQVAEConfig(
        category_names=("a", "b"),
        category_sizes=SIZES,
        compression_ratios=[0.5, 1.0],
        **{"group_embedding_dim": 6, "group_hidden_dim": 6, "decoder_hidden_dim": 6}
        | (model or {}),
    )
    x = rows(70) if train is None else train
    built = build_vqvae(config).to(x.device)
    chosen = TrainingConfig(**{"num_epochs": 4, "batch_size": 16} | settings)
    trained, held_back = held_back_rows(len(x), chosen, 3)
    x, judging = x[trained.to(x.device)], x[held_back.to(x.device)]
    built.initialize_from(x, generator(0, Stream.INITIALISATION))
    return Trainer(
        built,
        x,
        (rows(20, seed=1) if validation is None else validation).to(x.device),
        chosen,
        seed=3,
        callback=callback,
        judging=judging,
    )


def reproducibly(work: Callable[[], Any]) -> Any:
    with reproducible(3, torch.device("cpu")):
        return work()
