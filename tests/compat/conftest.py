"""The original and its replacement, side by side on the same state and inputs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spinlock.compat import vector_quantize_pytorch as ours

# What float32 sums in another order may differ by.
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}


@pytest.fixture(scope="session")
def peer() -> Any:
    """The original package."""
    return pytest.importorskip(
        "vector_quantize_pytorch", reason="pip install vector-quantize-pytorch to compare with it"
    )


@pytest.fixture
def twins(peer: Any) -> Callable[..., tuple[Any, Any]]:
    """Makes (original, replacement) of one class with the original's state."""

    def build(name: str, **options: Any) -> tuple[Any, Any]:
        torch.manual_seed(0)
        original = getattr(peer, name)(**options)
        torch.manual_seed(0)
        replacement = getattr(ours, name)(**options)
        assert_same_state(original, replacement)
        return original, replacement

    return build


def assert_same_state(original: nn.Module, replacement: nn.Module) -> None:
    """The same keys in the same shapes, and values within tolerance."""
    expected, found = original.state_dict(), replacement.state_dict()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, **TOLERANCE, msg=lambda m, k=key: f"{k}: {m}")


def step(
    module: nn.Module, x: Tensor, seed: int, wanted: bool = True, **arguments: Any
) -> tuple[Any, ...]:
    """One call: outputs, gradient of x where it is wanted, gradients of the shared parameters."""
    torch.manual_seed(seed)
    module.zero_grad()
    x = x.clone().requires_grad_(wanted)
    outputs = module(x, **arguments)
    weights = torch.linspace(-1.0, 1.0, outputs[0].numel()).view_as(outputs[0])
    objective = (outputs[0] * weights).sum() + sum(
        part.sum() for part in outputs[1:] if isinstance(part, Tensor) and part.is_floating_point()
    )
    if objective.requires_grad:
        objective.backward()
    grads = {n: p.grad for n, p in module.named_parameters() if "_codebook" not in n}
    return outputs, x.grad, grads


def code_grads(module: nn.Module) -> list[Tensor]:
    """Gradients of learnable codes, flat."""
    found = [p.grad for n, p in module.named_parameters() if "_codebook" in n]
    return [grad.flatten() for grad in found if grad is not None]


def assert_same_step(
    original: Any, replacement: Any, x: Tensor, wanted: bool = True, **arguments: Any
) -> None:
    """Outputs, gradients (that of x where it is wanted) and state after one call are the same."""
    # Both count from the same random numbers.
    expected, x_grad, grads = step(original, x, 7, wanted, **arguments)
    found, own_grad, own_grads = step(replacement, x, 7, wanted, **arguments)
    assert_same_outputs(found, expected)
    if x_grad is None:
        assert own_grad is None or not own_grad.any()
    else:
        torch.testing.assert_close(own_grad, x_grad, **TOLERANCE)
    assert own_grads.keys() == grads.keys()
    # For an input without a gradient the original's output gives it to codes, not to a projection.
    behind = not wanted and any(name.startswith("project_in") for name in grads)
    for name, grad in grads.items():
        if grad is not None and not (behind and name.startswith("project_in")):
            torch.testing.assert_close(own_grads[name], grad, **TOLERANCE)
    pairs = zip(code_grads(replacement), code_grads(original), strict=True)
    for mine, theirs in pairs if not behind else ():
        size = min(len(mine), len(theirs))  # padding of the flat buffer
        torch.testing.assert_close(mine[:size], theirs[:size], **TOLERANCE)
    assert_same_state(original, replacement)


def assert_same_outputs(found: Any, expected: Any) -> None:
    """Tensors, or nested tuples of them, of equal shape, type and value."""
    if isinstance(expected, Tensor):
        torch.testing.assert_close(found, expected, **TOLERANCE)
        return
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert_same_outputs(mine, theirs)
