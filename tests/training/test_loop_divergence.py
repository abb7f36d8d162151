"""The loop notices losses, weights and errors that are not finite."""

import pytest
import torch
from torch import Tensor

from spinlock.errors import DataError
from spinlock.training.callbacks import Callback, EpochRecord
from trainers import Record, make_trainer, rows


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
