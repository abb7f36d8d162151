"""First derivatives that have no derivative: an error where one is asked for, never a silent 0."""

from typing import Any

import torch
from torch import Tensor

from spinlock.errors import InputError

__all__ = ["refuse_second_order"]


def refuse_second_order(what: str, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    """The gradients of a backward pass; under ``create_graph`` they refuse to be differentiated.

    Args:
        what: has these gradients, for the message.
        gradients: computed without a graph.
    """
    if not torch.is_grad_enabled():
        return gradients
    # What needs no gradient leaves no graph, and its second derivative would be taken for 0.
    anchor = torch.empty(0, requires_grad=True)
    return tuple(
        None if each is None else _Refuse.apply(each, anchor, what)  # type: ignore[no-untyped-call]
        for each in gradients
    )


class _Refuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, _: Tensor, what: str) -> Tensor:
        ctx.what = what
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        raise InputError(
            f"backward: expected one derivative of {ctx.what}, got a second one (create_graph=True "
            "and a backward pass through the gradient), for which there is no formula; leave this "
            "term out of the gradient that is differentiated"
        )
