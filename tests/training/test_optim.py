"""The schedule, a pure function of the step, and what the optimizer is given."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spinlock.training.optim import LearningRateSchedule, build_optimizer

STEPS = st.integers(1, 500)


@given(STEPS, st.integers(0, 500), st.sampled_from(["cosine", "constant"]))
def test_rates_stay_between_floor_and_peak(total: int, warmup: int, kind: str) -> None:
    schedule = LearningRateSchedule(kind, 2e-3, total, warmup)  # type: ignore[arg-type]
    rates = [schedule.at(step) for step in range(total)]
    assert all(0.0 < rate <= 2e-3 for rate in rates)
    assert all(a <= b for a, b in itertools.pairwise(rates[: warmup + 1]))
    falling = rates[warmup:]
    assert all(a >= b for a, b in itertools.pairwise(falling))
    assert all(rate >= 0.02 * 2e-3 for rate in falling)


def test_cosine_is_that_of_torch() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50, eta_min=0.1 * 0.02)
    ours = LearningRateSchedule("cosine", 0.1, 50)
    for step in range(50):
        assert math.isclose(ours.at(step), optimizer.param_groups[0]["lr"], rel_tol=1e-9)
        optimizer.step()
        theirs.step()
    assert math.isclose(ours.at(50), 0.002)


def test_warm_up_rises_in_equal_steps_to_the_peak() -> None:
    schedule = LearningRateSchedule("constant", 1.0, 10, 4)
    assert [schedule.at(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


class Model(nn.Module):
    def __init__(self, *, codebook: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.quantizer = nn.Module()
        if codebook:
            self.quantizer.weight = nn.Parameter(torch.ones(5))


@pytest.mark.parametrize(("kind", "family"), [("adam", "Adam"), ("adamw", "AdamW")])
@pytest.mark.parametrize("codebook", [True, False])
def test_codebooks_do_not_decay(kind: str, family: str, codebook: bool) -> None:
    model = Model(codebook=codebook)
    optimizer = build_optimizer(model, kind, 0.1, 0.5)  # type: ignore[arg-type]
    assert type(optimizer).__name__ == family
    assert [g["weight_decay"] for g in optimizer.param_groups] == (
        [0.5, 0.0] if codebook else [0.5]
    )
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}
    before = [p.detach().clone() for p in held]
    for p in held:
        p.grad = torch.zeros_like(p)
    LearningRateSchedule("constant", 0.2, 1).apply(optimizer, 0)
    optimizer.step()
    assert all(group["lr"] == 0.2 for group in optimizer.param_groups)
    moved = [not torch.equal(a, b) for a, b in zip(before, held, strict=True)]
    assert moved == ([True, True] + [False] * codebook)
