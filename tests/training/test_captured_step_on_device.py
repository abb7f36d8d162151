"""Training steps in a CUDA graph, on a device."""

from typing import Any

import pytest
import torch

from spinlock.training.loop import Trainer
from trainers import Record, make_trainer, reproducibly, rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

FORMS: list[dict[str, Any]] = [
    {},
    {"gradient_clip": 0.5, "optimizer": "adamw", "weight_decay": 0.1},
    {"model": {"hierarchy": "independent", "orthogonality_weight": 0.1}},
    {"model": {"use_ema": False}},
]


def _trained(form: dict[str, Any], *, graph: bool, record: Record | None = None) -> Trainer:
    def run() -> Trainer:
        trainer = make_trainer(
            record, train=rows(320).cuda(), num_epochs=4, cuda_graph=graph, **form
        )
        trainer.run()
        return trainer

    return reproducibly(run)


@pytest.mark.parametrize("form", FORMS, ids=["residual", "clipped", "independent", "learnable"])
def test_a_graph_learns_what_single_steps_learn(form: dict[str, Any]) -> None:
    record = Record()
    plain, captured = _trained(form, graph=False), _trained(form, graph=True, record=record)
    assert [event.kind for event in record.events].count("graph_captured") == 1
    for ours, theirs in zip(captured.progress.history, plain.progress.history, strict=True):
        assert ours.losses == pytest.approx(theirs.losses, rel=1e-3)
    assert captured.progress.metrics.mean_mse == pytest.approx(
        plain.progress.metrics.mean_mse, rel=1e-2
    )


def test_a_captured_step_waits_for_nothing() -> None:
    trainer = _trained({}, graph=True)
    order = torch.arange(trainer.batch_size, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            trainer._step(order)
            trainer.progress.step_in_epoch = 0
    finally:
        torch.cuda.set_sync_debug_mode("default")
