"""The loop stops at any step and continues bit for bit."""

import copy
from typing import Any

import pytest
import torch

from spinlock.training.loop import Trainer
from spinlock.training.state import (
    decode_json,
    decode_tensors,
    encode_json,
    encode_tensors,
    flatten_state,
    restore_state,
)
from trainers import Record, make_trainer, reproducibly


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
