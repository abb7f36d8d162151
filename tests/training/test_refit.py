"""Refit rounds: what they gain, what they leave alone, and that they can stop anywhere."""

import copy
from typing import Any

import pytest
import torch

from spinlock.config import TrainingConfig
from spinlock.training.held_back import held_back_rows
from spinlock.training.loop import Trainer
from spinlock.training.metrics import evaluate
from spinlock.training.state import (
    decode_json,
    decode_tensors,
    encode_json,
    encode_tensors,
    flatten_state,
    restore_state,
)
from trainers import Record, make_trainer, reproducibly, rows

ROUNDS = {"rounds": 2, "epochs": 2, "learning_rate": 0.01, "inner_split": 0.2}
FORM: dict[str, Any] = {"num_epochs": 2, "train": rows(140), "refit": ROUNDS}
# So many rows that a round gains something on those that it does not see.
MANY = {"train": rows(1_000), "refit": {**ROUNDS, "rounds": 3, "epochs": 4}}


def _whole(**form: Any) -> tuple[Trainer, Record]:
    record = Record()

    def run() -> Trainer:
        trainer = make_trainer(record, **{**FORM, **form})
        assert trainer.run() is False
        return trainer

    return reproducibly(run), record


def _without_rounds(**form: Any) -> tuple[Trainer, Record]:
    """The same run as far as refit rounds begin: on the same rows."""
    form = {**FORM, **form}
    x = form["train"]
    trained, _ = held_back_rows(len(x), TrainingConfig(refit=form["refit"]), 3)
    return _whole(**{**form, "train": x[trained], "refit": {}})


def test_rounds_lower_the_error_of_what_tokens_decode_to() -> None:
    plain, _ = _without_rounds(**MANY)
    refitted, record = _whole(**MANY)
    assert refitted.refit is not None
    assert refitted.refit.kept_round > 0
    assert min(refitted.refit.errors) < refitted.refit.errors[0]
    swept = {
        name: float(
            (t.model.decode_from_tokens(t.model.get_tokens(t.train, sweeps=1)) - t.train)
            .square()
            .mean()
        )
        for name, t in (("plain", plain), ("refitted", refitted))
    }
    assert swept["refitted"] < 0.98 * swept["plain"]
    assert [event.kind for event in record.events].count("refitted") == 1


def test_encoders_keep_still_and_epochs_are_counted_on() -> None:
    plain, _ = _without_rounds(**MANY)
    refitted, record = _whole(**MANY)
    before, after = plain.model.state_dict(), refitted.model.state_dict()
    for name in before:
        if name.startswith(("encoder.", "head.", "analysis_axes")):
            assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["decoder.3.weight"], after["decoder.3.weight"])
    rounds = [epoch.refit_round for epoch in record.epochs]
    assert rounds == [0, 0, *(1 + n // 4 for n in range(len(rounds) - 2))]
    assert [epoch.epoch for epoch in record.epochs] == list(range(1, len(record.epochs) + 1))
    bank = refitted.model.quantizer.bank
    assert not bank.weight.requires_grad
    assert bank.weight.grad is None


def test_a_round_that_gains_nothing_is_undone() -> None:
    plain, _ = _without_rounds()
    spoilt, _ = _whole(refit={**ROUNDS, "learning_rate": 10.0})
    assert spoilt.refit is not None
    assert (spoilt.refit.kept_round, spoilt.refit.rounds) == (0, 1)
    for name, tensor in plain.model.state_dict().items():
        if "ema_sums" not in name and "epoch" not in name:
            assert torch.equal(tensor, spoilt.model.state_dict()[name]), name
    errors = [evaluate(t.model, t.measured, dead_codes=0).mean_mse for t in (plain, spoilt)]
    assert errors[0] == errors[1]


@pytest.mark.parametrize("stop_after", [16, 17, 20, 24, 29])
def test_stopped_anywhere_it_ends_bit_for_bit_the_same(stop_after: int) -> None:
    whole, heard = _whole()
    steps = len(heard.steps)
    assert steps > 29

    def first_part() -> tuple[Any, ...]:
        record = Record(stop_after)
        trainer = make_trainer(record, **FORM)
        assert trainer.run(record.interrupt) is True
        tree, tensors = flatten_state(trainer.state())
        written = encode_json(tree), encode_tensors(tensors)
        return copy.deepcopy(trainer.model.state_dict()), written, trainer.progress.history

    def second_part(weights: Any, written: Any, history: Any) -> Trainer:
        trainer = make_trainer(**FORM)
        trainer.model.load_state_dict(weights)
        state = restore_state(decode_json(written[0], ""), decode_tensors(written[1], ""))
        trainer.load_state(state, history)
        assert trainer.run() is False
        return trainer

    parts = reproducibly(first_part)
    continued = reproducibly(lambda: second_part(*parts))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, continued.model.state_dict()[name]), name
    assert [e.losses for e in whole.progress.history] == [
        e.losses for e in continued.progress.history
    ]
