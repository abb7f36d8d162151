"""Gradients of quantization: straight-through, commitment and codebook loss."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spinlock.layout import CodebookLayout
from spinlock.ops._torch import sum_by_code
from spinlock.ops.padding import padding_plan

__all__ = ["quantization_losses", "straight_through"]


class _StraightThrough(torch.autograd.Function):
    """Value of one tensor, gradient of another."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, value: Tensor, keep: Tensor | None) -> Tensor:
        ctx.dtype = source.dtype
        ctx.save_for_backward(keep)
        return value.clone()  # a view of an input could not be modified in place

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        grad = grads[0] if keep is None else grads[0].where(keep, 0.0)
        return grad.to(ctx.dtype), None, None


def straight_through(source: Tensor, value: Tensor, keep: Tensor | None = None) -> Tensor:
    """``value``, exactly, whose gradient goes to ``source`` unchanged.

    ``source + (value - source).detach()`` has the same gradient but rounds the value.

    Args:
        source: any shape.
        value: the same shape; gets no gradient.
        keep: bool of the same shape; the gradient is 0 where False.  None keeps all.
    """
    result = _StraightThrough.apply(source, value, keep)  # type: ignore[no-untyped-call]
    return cast(Tensor, result)


class _QuantizationLosses(torch.autograd.Function):
    """Mean squared error per quantizer, twice: once for the latents, once for the codebooks."""

    @staticmethod
    def forward(
        ctx: Any,
        latents: Tensor,
        weight: Tensor,
        codes: Tensor,
        indices: Tensor,
        layout: CodebookLayout,
        usable: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        plan = padding_plan(layout, latents.device)
        working = torch.promote_types(
            torch.promote_types(latents.dtype, weight.dtype), torch.float32
        )
        error = latents.to(working) - codes.to(working)
        if usable is None:
            rows = torch.full_like(plan.dims, len(latents))
        else:
            error = error.where(usable.index_select(1, plan.column_quantizer), 0.0)
            rows = usable.sum(dim=0)
        values = (rows * plan.dims).clamp_(min=1).to(working)
        sums = error.new_zeros(layout.num_quantizers)
        sums.index_add_(0, plan.column_quantizer, error.square().sum(dim=0))
        losses = sums / values
        ctx.layout, ctx.dtypes = layout, (latents.dtype, weight.dtype)
        # The error and the indices, never the codebooks: those change in place.
        ctx.save_for_backward(error, indices, values, usable)
        return losses, losses.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        error, indices, values, usable = ctx.saved_tensors
        columns = padding_plan(ctx.layout, error.device).column_quantizer
        latents_dtype, weight_dtype = ctx.dtypes
        grad_latents = grad_weight = None
        if ctx.needs_input_grad[0]:
            scale = (2.0 * grads[0] / values).index_select(0, columns)
            grad_latents = (error * scale).to(latents_dtype)
        if ctx.needs_input_grad[1]:
            scale = (-2.0 * grads[1] / values).index_select(0, columns)
            summed = sum_by_code(error * scale, indices, ctx.layout, usable)
            grad_weight = summed.to(weight_dtype)
        return grad_latents, grad_weight, None, None, None, None


def quantization_losses(
    latents: Tensor,
    weight: Tensor,
    codes: Tensor,
    indices: Tensor,
    layout: CodebookLayout,
    usable: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """(commitment [Q], codebook loss [Q]): equal values, gradients to latents and to weight.

    Both are ``mean over usable rows and D_q dims of (x - c)^2``, in float32 or wider, 0 where no
    row is usable.  Gradients: ``2 (x - c) / (rows D_q)`` to the latents for the first,
    ``2 (c - x) / (rows D_q)`` added up by code to the weight for the second (van den Oord et al.
    2017, equation 3).

    Args:
        latents: [B, input_width].
        weight: [weight_size].
        codes: [B, input_width], what ``gather_codes`` returns for the indices.
        indices: [B, Q].
        layout: where codebooks and columns lie.
        usable: bool [B, Q], or None for all.
    """
    losses = _QuantizationLosses.apply(  # type: ignore[no-untyped-call]
        latents, weight, codes, indices, layout, usable
    )
    return cast(tuple[Tensor, Tensor], losses)
