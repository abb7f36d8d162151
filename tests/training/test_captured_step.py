"""Steps that are recorded and replayed, with a recorder that calls what it was given."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.errors import ConfigError
from spinlock.training.captured_step import WARM_UP_STEPS, StepRunner
from spinlock.training.loop import Trainer
from spinlock.training.optim import build_optimizer, make_capturable, optimizer_state
from trainers import Record, make_trainer, reproducibly

Losses = dict[str, Tensor]


class Recorder:
    """As a CUDA graph: recording runs nothing, each replay runs what was recorded."""

    def __init__(self, error: str | None = None) -> None:
        self.error = error
        self.recorded = self.replayed = 0

    def __call__(self, call: Callable[[], Losses]) -> Callable[[], Losses]:
        if self.error is not None:
            raise RuntimeError(self.error)
        self.recorded += 1

        def replay() -> Losses:
            self.replayed += 1
            return call()

        return replay


def _with(trainer: Trainer, recorder: Recorder, wanted: Any = "auto") -> Trainer:
    trainer.runner = StepRunner(
        trainer._train_step,
        trainer.train,
        trainer.batch_size,
        wanted=wanted,
        on_event=trainer.callback.on_event,
        capture=recorder,
    )
    return trainer


@pytest.mark.parametrize(
    "form", [{"model": {"dropout": 0.2}}, {"gradient_clip": 0.5, "optimizer": "adamw"}]
)
def test_replayed_steps_end_bit_for_bit_where_others_do(form: dict[str, Any]) -> None:
    recorder, record = Recorder(), Record()

    def plain() -> Trainer:
        trainer = make_trainer(**form)
        trainer.run()
        return trainer

    def replayed() -> Trainer:
        trainer = _with(make_trainer(record, **form), recorder)
        trainer.run()
        return trainer

    first, second = reproducibly(plain), reproducibly(replayed)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    steps = second.steps_per_epoch * second.settings.num_epochs
    assert (recorder.recorded, recorder.replayed) == (1, steps - WARM_UP_STEPS)
    assert [event.kind for event in record.events].count("graph_captured") == 1
    assert [e.losses for e in first.progress.history] == [e.losses for e in second.progress.history]


def test_a_step_that_cannot_be_captured_goes_on_without_and_says_why() -> None:
    record = Record()
    trainer = _with(make_trainer(record), Recorder("operation not permitted\nat line 3"))
    assert reproducibly(trainer.run) is False
    said = [event for event in record.events if event.kind == "graph_not_captured"]
    assert len(said) == 1
    assert str(said[0].message).endswith("cannot be captured: operation not permitted")
    assert trainer.progress.finished


def test_a_capture_that_is_required_and_fails_is_an_error() -> None:
    trainer = _with(make_trainer(), Recorder("not permitted"), wanted=True)
    with pytest.raises(ConfigError, match=r"training.cuda_graph: .*\(not permitted\); set it to"):
        reproducibly(trainer.run)


def test_a_graph_on_a_cpu_is_an_error_and_auto_is_none() -> None:
    with pytest.raises(ConfigError, match=r"training.cuda_graph: true needs a CUDA device"):
        make_trainer(cuda_graph=True)
    assert not make_trainer().runner.captures
    assert not make_trainer(cuda_graph=False).runner.captures


def test_a_graph_reads_rows_and_learning_rate_where_it_was_recorded() -> None:
    trainer = make_trainer()
    make_capturable(trainer.optimizer)
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    trainer.schedule.apply(trainer.optimizer, 5)
    assert all(isinstance(rate, Tensor) for rate in rates)
    for group, rate in zip(trainer.optimizer.param_groups, rates, strict=True):
        assert group["lr"] is rate
        assert float(rate) == pytest.approx(trainer.schedule.at(5))
    addresses = set()
    runner = StepRunner(
        lambda batch: addresses.add(batch.data_ptr()) or {"sum": batch.sum()},
        torch.zeros(10, 2),
        4,
        wanted="auto",
        on_event=lambda _: None,
        capture=Recorder(),
    )
    data = torch.arange(20.0).view(10, 2)
    for first in range(6):
        rows = torch.arange(first, first + 4)
        assert float(runner(data, rows)["sum"]) == float(data[rows].sum())
    assert len(addresses) == 1


def test_a_saved_optimizer_does_not_tell_whether_it_was_captured() -> None:
    model = torch.nn.Linear(3, 2)
    states = []
    for capturable in (False, True):
        optimizer = build_optimizer(model, "adam", 0.25, 0.0, capturable=capturable)
        states.append(optimizer_state(optimizer))
    assert states[0] == states[1]
    assert states[1]["param_groups"][0]["lr"] == 0.25
    optimizer.load_state_dict(states[0])
    assert optimizer.param_groups[0]["lr"] == 0.25
