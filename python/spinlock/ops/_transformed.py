"""Quantization under the transforms of ``torch.func``, which take autograd functions alone."""

from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from spinlock.ops._library_rules import OPS, keep_attach, keep_quantize, refuse, step_gradients

__all__ = ["attach_transformed", "quantize_transformed"]


class _Quantize(torch.autograd.Function):
    """The operator ``quantize``, in the form that ``grad`` and ``vmap`` see through."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return cast(tuple[Tensor, ...], OPS.quantize(*args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        keep_quantize(ctx, inputs, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        codes, _, commitment, codebook, _ = grads
        return (*step_gradients(ctx, _Gradients, codes, commitment, codebook), *[None] * 6)


class _Attach(torch.autograd.Function):
    """The operator ``attach_gradients`` likewise."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return cast(tuple[Tensor, ...], OPS.attach_gradients(*args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        keep_attach(ctx, inputs, output=output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*step_gradients(ctx, _Gradients, *grads), *[None] * 9)


class _Gradient(torch.autograd.Function):
    """The operators of the backward pass likewise, by name."""

    generate_vmap_rule = True

    @staticmethod
    def forward(name: str, *args: Any) -> Tensor:
        return cast(Tensor, getattr(OPS, name)(*args))

    @staticmethod
    def setup_context(*_: Any) -> None:
        """Nothing is needed to refuse."""

    @staticmethod
    def backward(*_: Any) -> NoReturn:
        refuse()


class _Gradients:
    @staticmethod
    def latents_gradient(*args: Any) -> Tensor:
        return cast(Tensor, _Gradient.apply("latents_gradient", *args))  # type: ignore[no-untyped-call]

    @staticmethod
    def weight_gradient(*args: Any) -> Tensor:
        return cast(Tensor, _Gradient.apply("weight_gradient", *args))  # type: ignore[no-untyped-call]


def quantize_transformed(*args: Any) -> tuple[Tensor, ...]:
    """What ``torch.ops.spinlock.quantize`` returns; forward mode has no formula and says so."""
    result = _Quantize.apply(*args)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, ...], result)


def attach_transformed(*args: Any) -> tuple[Tensor, ...]:
    """What ``torch.ops.spinlock.attach_gradients`` returns."""
    result = _Attach.apply(*args)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, ...], result)
