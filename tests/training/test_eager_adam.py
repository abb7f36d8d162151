"""The optimizers of the training loop against those of torch, and what they do not load."""

import inspect
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from spinlock.training import eager_adam

PAIRS = [(eager_adam.Adam, optim.Adam), (eager_adam.AdamW, optim.AdamW)]


def parameters() -> list[nn.Parameter]:
    source = torch.Generator().manual_seed(5)
    return [nn.Parameter(torch.randn(shape, generator=source)) for shape in ((7, 3), (5,))]


def stepped(optimizer: optim.Optimizer, steps: int) -> None:
    held = [p for group in optimizer.param_groups for p in group["params"]]
    for step in range(steps):
        optimizer.zero_grad()
        assert all(p.grad is None for p in held)
        torch.stack([(p * (p + step)).sum() for p in held]).sum().backward()
        optimizer.step()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_each_takes_its_own_step(ours: Any, theirs: Any) -> None:
    """Up to torch 2.6 AdamW is no kind of Adam: it has a step of its own."""
    assert inspect.unwrap(ours.step) is inspect.unwrap(theirs.step)
    assert "step" in vars(ours)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_steps_and_state_are_those_of_torch(ours: Any, theirs: Any) -> None:
    found, expected = parameters(), parameters()
    settings = {"lr": 0.1, "weight_decay": 0.3, "fused": True}
    optimizers = [family(p, **settings) for family, p in ((ours, found), (theirs, expected))]
    for optimizer in optimizers:
        stepped(optimizer, 3)
    assert all(map(torch.equal, found, expected))
    assert all(p.is_leaf and p.requires_grad for p in found)
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for number, expected_state in states[1]["state"].items():
        state: dict[str, Tensor] = states[0]["state"][number]
        assert state.keys() == expected_state.keys()
        assert all(torch.equal(state[key], expected_state[key]) for key in state)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_either_continues_from_the_state_of_the_other(ours: Any, theirs: Any) -> None:
    whole = parameters()
    stepped(theirs(whole, lr=0.1), 4)
    for first, second in ((ours, theirs), (theirs, ours)):
        found = parameters()
        begun = first(found, lr=0.1)
        stepped(begun, 2)
        continued = second(found, lr=0.7)
        continued.load_state_dict(begun.state_dict())
        for step in (2, 3):
            continued.zero_grad()
            torch.stack([(p * (p + step)).sum() for p in found]).sum().backward()
            continued.step()
        assert all(map(torch.equal, found, whole))


@pytest.mark.parametrize("ours", [eager_adam.Adam, eager_adam.AdamW])
def test_hooks_run_once_a_step(ours: Any) -> None:
    optimizer, seen = ours(parameters(), lr=0.1), []
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    stepped(optimizer, 2)
    assert seen == [1, 1]


def test_a_step_loads_no_compiler() -> None:
    code = (
        "import sys, torch; from spinlock.training.eager_adam import Adam, AdamW\n"
        "for family in (Adam, AdamW):\n"
        "    p = torch.nn.Parameter(torch.ones(3)); optimizer = family([p], fused=True)\n"
        "    p.sum().backward(); optimizer.step(); optimizer.zero_grad()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "found = {'torch._dynamo', 'sympy'} & sys.modules.keys()\n"
        "sys.exit(f'imported {sorted(found)}' if found else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
