"""The loop: batches, schedule, revival, stopping, and continuing from any step."""

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.config import TrainingConfig
from spinlock.errors import DataError, InputError
from spinlock.training.callbacks import Callback, EpochRecord, Event, RunInfo
from spinlock.training.interrupts import GracefulInterrupt
from spinlock.training.loop import Trainer
from spinlock.training.seeding import Stream, generator, reproducible
from spinlock.training.state import (
    decode_json,
    decode_tensors,
    encode_json,
    encode_tensors,
    flatten_state,
    restore_state,
)
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
    built = build_vqvae(config)
    built.initialize_from(x, generator(0, Stream.INITIALISATION))
    return Trainer(
        built,
        x,
        rows(20, seed=1) if validation is None else validation,
        TrainingConfig(**{"num_epochs": 4, "batch_size": 16} | settings),
        seed=3,
        callback=callback,
    )


def reproducibly(work: Callable[[], Any]) -> Any:
    with reproducible(3, torch.device("cpu")):
        return work()


def test_every_epoch_shuffles_anew_and_drops_the_partial_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbered = rows(70)
    numbered[:, 0] = torch.arange(70.0)
    seen: list[list[int]] = []
    trainer = make_trainer(train=numbered, num_epochs=3)
    step = trainer._step
    monkeypatch.setattr(
        trainer, "_step", lambda batch: (seen.append(batch[:, 0].int().tolist()), step(batch))
    )
    trainer.run()
    assert [len(batch) for batch in seen] == [16] * 12
    epochs = [list(chain(*seen[4 * e : 4 * e + 4])) for e in range(3)]
    assert all(len(set(epoch)) == 64 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert trainer.steps_per_epoch == 4


def test_a_batch_larger_than_the_data_is_capped_and_said() -> None:
    record = Record()
    trainer = make_trainer(record, batch_size=512, num_epochs=1)
    trainer.run()
    assert trainer.batch_size == 70
    assert [e.kind for e in record.events] == ["batch_size_capped"]
    assert record.events[0].details == {"batch_size": 70}
    assert record.runs == [
        RunInfo(
            num_epochs=1, steps_per_epoch=1, first_epoch=1, first_step=1, batch_size=70, threads=1
        )
    ]


def test_without_held_out_rows_the_training_rows_are_measured_and_said() -> None:
    record = Record()
    trainer = make_trainer(record, validation=rows(0))
    trainer.run()
    assert [e.kind for e in record.events] == ["validation_on_training"]
    assert trainer.split == "training"
    assert record.epochs[-1].validation is not None
    assert record.epochs[-1].validation.rows == 70
    assert record.epochs[-1].split == "training"


def test_records_say_what_happened() -> None:
    record = Record()
    trainer = make_trainer(record, num_epochs=5, val_every_n_epochs=2, scheduler="cosine")
    assert trainer.run() is False
    assert [r.epoch for r in record.epochs] == [1, 2, 3, 4, 5]
    assert [r.step for r in record.epochs] == [4, 8, 12, 16, 20]
    assert [r.validation is not None for r in record.epochs] == [False, True, False, True, True]
    rates = [r.learning_rate for r in record.epochs]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == trainer.schedule.at(19)
    for r in record.epochs:
        assert r.losses.keys() == {"reconstruction", "commitment", "total"}
        assert r.losses["total"] == pytest.approx(
            r.losses["reconstruction"] + r.losses["commitment"], rel=1e-5
        )
        assert 0 < r.utilization <= 1
        assert r.perplexity >= 1
        assert EpochRecord.from_dict(r.to_dict()) == r
    assert trainer.progress.finished
    assert trainer.progress.metrics == record.epochs[-1].validation
    assert trainer.run() is False
    assert len(record.epochs) == 5


def test_training_improves() -> None:
    record = Record()
    data = {"train": rows(400), "validation": rows(200, seed=1)}
    reproducibly(lambda: make_trainer(record, num_epochs=15, **data).run())
    first, last = record.epochs[0], record.epochs[-1]
    assert first.validation is not None
    assert last.validation is not None
    assert last.losses["total"] < 0.9 * first.losses["total"]
    assert last.validation.mean_mse < first.validation.mean_mse


def test_usage_counts_each_epoch_alone() -> None:
    record = Record()
    trainer = make_trainer(record, num_epochs=2)
    trainer.run()
    counts = trainer.model.quantizer.bank.epoch_counts
    assert int(counts.sum()) == 4 * 16 * 4  # steps x rows x quantizers
    assert record.epochs[-1].dead_codes == int((counts == 0).sum())
    metrics = record.epochs[-1].validation
    assert metrics is not None
    assert metrics.dead_codes == record.epochs[-1].dead_codes


@pytest.mark.parametrize(
    ("interval", "fraction", "expected"),
    [(1, 0.5, [1, 2, 3]), (2, 1.0, [2, 4, 6]), (1, 0.0, []), (4, 0.8, [4])],
)
def test_revival_follows_its_interval_and_ends(
    monkeypatch: pytest.MonkeyPatch, interval: int, fraction: float, expected: list[int]
) -> None:
    trainer = make_trainer(
        num_epochs=6, dead_code_interval=interval, dead_code_stop_fraction=fraction
    )
    called: list[int] = []
    monkeypatch.setattr(
        trainer.model, "revive", lambda *_: called.append(trainer.progress.epoch) or 0
    )
    trainer.run()
    assert called == expected


def test_without_dead_codes_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()
    bank = trainer.model.quantizer.bank
    source = torch.Generator().manual_seed(0)
    looked_up: list[int] = []
    nearest = type(bank).nearest
    monkeypatch.setattr(
        type(bank), "nearest", lambda *args: (looked_up.append(1), nearest(*args))[1]
    )
    assert trainer.model.revive(trainer.train, 0.02, source) == 0
    assert looked_up == []
    assert torch.equal(source.get_state(), torch.Generator().manual_seed(0).get_state())
    bank.ema_counts[-1] = 0.0  # a code of the last level alone
    assert trainer.model.revive(trainer.train, 0.02, source) == 1
    with pytest.raises(InputError, match="threshold"):
        trainer.model.revive(trainer.train, float("nan"), source)


def test_early_stopping_ends_the_run() -> None:
    record = Record()
    trainer = make_trainer(
        record, num_epochs=50, early_stopping_patience=3, early_stopping_min_delta=100.0
    )
    assert trainer.run() is False
    # The first measurement improves on none; three more do not improve on it.
    assert len(record.epochs) == 4
    assert trainer.progress.finished
    assert [e.kind for e in record.events] == ["early_stop"]


@pytest.mark.parametrize("clip", [None, 0.5])
def test_gradients_are_clipped_where_asked(
    monkeypatch: pytest.MonkeyPatch, clip: float | None
) -> None:
    norms: list[float] = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda _, norm: norms.append(norm))
    make_trainer(num_epochs=1, gradient_clip=clip).run()
    assert norms == ([] if clip is None else [0.5] * 4)


def test_divergence_is_named_with_a_remedy() -> None:
    trainer = make_trainer(learning_rate=1e30, num_epochs=20, scheduler="constant")
    with pytest.raises(
        DataError, match=r"training diverged.*epoch \d+, step \d of 4.*learning_rate"
    ):
        trainer.run()


def test_a_loss_that_breaks_in_a_later_epoch_is_named() -> None:
    trainer = make_trainer(num_epochs=4)
    train = trainer.train

    class Spoil(Callback):
        def on_epoch_end(self, record: EpochRecord) -> None:
            trainer.train = train * 1e30 if record.epoch == 2 else train

    trainer.callback = Spoil()
    with pytest.raises(DataError, match=r"loss term '\w+' became \w+ in epoch 3, step 1 of 4"):
        trainer.run()


def test_broken_weights_are_not_saved_when_a_signal_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = Record(6)
    trainer = make_trainer(record)
    monkeypatch.setattr(trainer, "_save", lambda **_: pytest.fail("saved"))

    class Spoil(Callback):
        def on_step_end(self, epoch: int, step: int) -> None:
            record.on_step_end(epoch, step)
            if record.interrupt.requested:
                with torch.no_grad():
                    trainer.parameters[0].fill_(float("nan"))

    trainer.callback = Spoil()
    with pytest.raises(DataError, match=r"infinite or NaN in epoch 2\."):
        trainer.run(record.interrupt)


def test_a_signal_while_an_epoch_is_saved_stops_the_next_one_with_a_save(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = Record()
    trainer = make_trainer(record, checkpoint_every_n_epochs=3)
    saved: list[str] = []
    monkeypatch.setattr(
        trainer, "_save", lambda **_: saved.append(trainer.progress.checkpoint_name)
    )
    save_if_due = trainer._save_if_due

    def signalled(*arguments: Any) -> None:
        save_if_due(*arguments)
        record.interrupt.requested = True

    monkeypatch.setattr(trainer, "_save_if_due", signalled)
    trainer.saver = object()  # type: ignore[assignment]
    assert trainer.run(record.interrupt) is True
    assert saved == ["epoch_0001_step_000001"]


@pytest.mark.parametrize("validated", [1, 5])
def test_a_last_step_that_breaks_the_weights_is_noticed(
    monkeypatch: pytest.MonkeyPatch, validated: int
) -> None:
    trainer = make_trainer(num_epochs=5, val_every_n_epochs=validated)
    step = trainer._step

    def breaking(batch: Tensor) -> None:
        step(batch)
        if trainer.progress.step_in_epoch == 3:
            with torch.no_grad():
                trainer.parameters[0].fill_(float("nan"))

    monkeypatch.setattr(trainer, "_step", breaking)
    with pytest.raises(
        DataError, match=r"diverged: '.*' of the model became infinite or NaN in epoch 1"
    ):
        trainer.run()


def test_an_infinite_error_is_noticed() -> None:
    held_out = rows(20, seed=1) * 1e38
    with pytest.raises(DataError, match="diverged: the validation error"):
        make_trainer(validation=held_out).run()


def test_learning_rate_moves_with_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(num_epochs=2, warmup_epochs=1)
    used: list[float] = []
    step = trainer.optimizer.step
    monkeypatch.setattr(
        trainer.optimizer,
        "step",
        lambda: (used.append(trainer.optimizer.param_groups[0]["lr"]), step()),
    )
    trainer.run()
    assert used == [trainer.schedule.at(i) for i in range(8)]
    assert used[:4] == pytest.approx([5e-4, 1e-3, 1.5e-3, 2e-3])


FORMS: list[dict[str, Any]] = [
    {"model": {"dropout": 0.2}},
    {"model": {"use_ema": False}, "optimizer": "adamw", "weight_decay": 0.1, "warmup_epochs": 1},
    {
        "model": {"hierarchy": "independent", "dropout": 0.1, "orthogonality_weight": 0.1},
        "gradient_clip": 1.0,
        "early_stopping_patience": 9,
    },
]


@pytest.mark.parametrize("form", FORMS, ids=["residual", "learnable", "independent"])
@pytest.mark.parametrize("stop_after", [1, 4, 6, 15])
def test_continuing_from_any_step_ends_bit_for_bit_the_same(
    form: dict[str, Any], stop_after: int
) -> None:
    def whole() -> Trainer:
        trainer = make_trainer(**form)
        assert trainer.run() is False
        return trainer

    def first_part() -> tuple[Any, ...]:
        record = Record(stop_after)
        trainer = make_trainer(record, **form)
        assert trainer.run(record.interrupt) is True
        assert len(record.steps) == stop_after
        progress = trainer.progress
        assert progress.epoch * 4 + progress.step_in_epoch == stop_after
        tree, tensors = flatten_state(trainer.state())
        written = encode_json(tree), encode_tensors(tensors)
        return copy.deepcopy(trainer.model.state_dict()), written, progress.history

    def second_part(weights: Any, written: Any, history: Any) -> Trainer:
        torch.rand(3)  # another process draws other numbers before it continues
        trainer = make_trainer(**form)
        trainer.model.load_state_dict(weights)
        state = restore_state(decode_json(written[0], ""), decode_tensors(written[1], ""))
        trainer.load_state(state, history)
        assert trainer.run() is False
        return trainer

    expected = reproducibly(whole)
    parts = reproducibly(first_part)
    actual = reproducibly(lambda: second_part(*parts))
    state, other = expected.model.state_dict(), actual.model.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)
    ours, theirs = (flatten_state(t.optimizer.state_dict())[1] for t in (expected, actual))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for a, b in zip(expected.progress.history, actual.progress.history, strict=True):
        assert a.to_dict() | {"seconds": 0} == b.to_dict() | {"seconds": 0}


def test_an_interrupt_on_the_last_step_finishes_the_run() -> None:
    record = Record(16)
    trainer = make_trainer(record)
    assert trainer.run(record.interrupt) is False
    assert trainer.progress.finished


def test_a_continued_run_keeps_its_threads() -> None:
    state = make_trainer(num_threads=3).state()
    trainer = make_trainer()
    assert trainer.threads == 1
    trainer.load_state(state, [])
    assert trainer.threads == 3
