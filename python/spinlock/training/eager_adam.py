"""torch's Adam and AdamW for training that nobody compiles.

``torch.optim`` hides its bookkeeping and its steps from ``torch.compile`` by decorators that import
``torch._dynamo`` when they are first called, and sympy and triton with it: two seconds of processor
time and 70 MB, a third of a short run.  A training loop that runs step by step has nothing to hide.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import optim

__all__ = ["Adam", "AdamW"]


class _Eager(optim.Optimizer):
    """The methods of ``torch.optim`` as they are under the decorators."""

    add_param_group = inspect.unwrap(optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(optim.Optimizer.load_state_dict)


def _without_gradients(step: Any) -> Any:
    """A step under its decorator, which is also what turns gradients off."""
    return torch.no_grad()(inspect.unwrap(step))


class Adam(_Eager, optim.Adam):
    """``torch.optim.Adam``: same arguments, steps and state, but for ``differentiable=True``."""

    step: Any = _without_gradients(optim.Adam.step)


class AdamW(_Eager, optim.AdamW):
    """``torch.optim.AdamW``: same arguments, steps and state, but for ``differentiable=True``."""

    # Up to torch 2.6 it is no kind of Adam.
    step: Any = _without_gradients(optim.AdamW.step)
