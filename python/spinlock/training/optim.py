"""The optimizer and its learning rate, which is a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spinlock.training.eager_adam import Adam, AdamW

_FLOOR = 0.02  # a cosine schedule ends at this share of the learning rate


@dataclass(frozen=True)
class LearningRateSchedule:
    """Linear warm-up, then constant or half a cosine down to 2% of ``learning_rate``.

    As a function of the step alone it has no state: a resumed run asks for the step it is at.
    Cosine: "SGDR: stochastic gradient descent with warm restarts" (Loshchilov & Hutter 2017)
    without the restarts.

    Args:
        kind: ``cosine`` or ``constant``.
        learning_rate: the rate after warm-up.
        total_steps: optimizer steps in the whole run.
        warmup_steps: steps over which the rate rises from ``learning_rate / warmup_steps``.

    >>> schedule = LearningRateSchedule("cosine", 1.0, total_steps=6, warmup_steps=2)
    >>> [round(schedule.at(step), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.856, 0.51, 0.164]
    """

    kind: Literal["cosine", "constant"]
    learning_rate: float
    total_steps: int
    warmup_steps: int = 0

    def at(self, step: int) -> float:
        """The rate of optimizer step ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.kind == "constant":
            return self.learning_rate
        span = max(1, self.total_steps - self.warmup_steps)
        share = 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - self.warmup_steps) / span)))
        return self.learning_rate * (_FLOOR + (1.0 - _FLOOR) * share)

    def apply(self, optimizer: Optimizer, step: int) -> None:
        """Sets the rate of ``step`` in every parameter group, in place where it is a tensor."""
        rate = self.at(step)
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate


def build_optimizer(
    model: nn.Module,
    kind: Literal["adam", "adamw"],
    learning_rate: float,
    weight_decay: float,
    *,
    capturable: bool = False,
) -> Optimizer:
    """Adam or AdamW over all parameters; learnable codebooks are exempt from weight decay.

    ``adam`` adds the decay to the gradient, ``adamw`` decouples it (Loshchilov & Hutter 2019).
    With ``capturable`` its steps can be part of a CUDA graph: see :func:`make_capturable`.
    """
    codebooks = {id(parameter) for parameter in _quantizer_parameters(model)}
    decayed = [p for p in model.parameters() if id(p) not in codebooks]
    groups = [{"params": decayed, "weight_decay": weight_decay}]
    if codebooks:
        groups.append({"params": _quantizer_parameters(model), "weight_decay": 0.0})
    family = Adam if kind == "adam" else AdamW
    # One fused kernel per step instead of a loop over parameters; same result on every run.
    optimizer = family(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)
    if capturable:
        make_capturable(optimizer)
    return optimizer


def make_capturable(optimizer: Optimizer) -> None:
    """The learning rate becomes a tensor beside the parameters, which a graph reads each time."""
    for group in optimizer.param_groups:
        device = group["params"][0].device
        group["capturable"] = True
        group["lr"] = torch.tensor(float(group["lr"]), dtype=torch.float32, device=device)


def optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """Its state for a checkpoint, the same whether steps were captured or not."""
    state = optimizer.state_dict()
    groups = [
        {**group, "lr": float(group["lr"]), "capturable": False} for group in state["param_groups"]
    ]
    return {**state, "param_groups": groups}


def _quantizer_parameters(model: nn.Module) -> list[nn.Parameter]:
    quantizer = getattr(model, "quantizer", None)
    return list(quantizer.parameters()) if isinstance(quantizer, nn.Module) else []
