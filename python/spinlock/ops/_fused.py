"""Whole steps by a fused backend, with the gradients of ``_autograd``."""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spinlock.layout import CodebookLayout
from spinlock.ops._backend import AverageState, FusedBackend
from spinlock.ops.padding import padding_plan
from spinlock.ops.usable import usable_rows

__all__ = ["fused_quantize"]


class _FusedQuantize(torch.autograd.Function):
    """Latents -> quantized, indices, losses, counts; gradients to the latents only."""

    @staticmethod
    def forward(
        ctx: Any,
        latents: Tensor,
        weight: Tensor,
        layout: CodebookLayout,
        backend: FusedBackend,
        state: AverageState | None,
    ) -> tuple[Tensor, ...]:
        if state is None:
            step = backend.quantize(latents, weight, layout)
        else:
            step = backend.train_step(latents, weight, layout, *state)
        ctx.layout, ctx.backend = layout, backend
        # Rows and codes, never the codebooks: those change in place.
        ctx.save_for_backward(latents, step.quantized, step.counts)
        quantized = step.quantized.to(latents.dtype)
        if ctx.needs_input_grad[0] and quantized is step.quantized:
            quantized = quantized.clone()  # what users change in place is not what is kept
        ctx.mark_non_differentiable(step.indices, step.counts)
        return quantized, step.indices, step.losses, step.counts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        latents, quantized, counts = ctx.saved_tensors
        own = getattr(ctx.backend, "backward", _backward)
        grad = own(latents, quantized, counts, grads[0], grads[2], ctx.layout)
        return grad, None, None, None, None


def fused_quantize(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    backend: FusedBackend,
    state: AverageState | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(quantized in the latents' dtype, indices, losses [Q], counts float32 [total_codes]).

    Args:
        latents: [B, input_width].
        weight: [weight_size], without gradient.
        layout: where codebooks and columns lie.
        backend: what runs.
        state: moved by this batch, and with it the weight, in place; None changes nothing.
    """
    result = _FusedQuantize.apply(  # type: ignore[no-untyped-call]
        latents, weight, layout, backend, state
    )
    return cast(tuple[Tensor, Tensor, Tensor, Tensor], result)


def _backward(
    latents: Tensor,
    quantized: Tensor,
    counts: Tensor,
    grad_quantized: Tensor,
    grad_losses: Tensor,
    layout: CodebookLayout,
) -> Tensor:
    """grad_quantized + 2 grad_losses_q (x - c) / (rows_q D_q), 0 for rows that were skipped."""
    plan = padding_plan(layout, latents.device)
    values = (plan.sum_by_quantizer(counts) * plan.dims).clamp_(min=1.0)
    scale = (2.0 * grad_losses / values).index_select(0, plan.column_quantizer)
    grad = torch.addcmul(grad_quantized.float(), latents.float() - quantized, scale)
    usable = usable_rows(latents, layout)
    if usable is not None:
        grad = grad.where(usable.index_select(1, plan.column_quantizer), 0.0)
    return grad.to(latents.dtype)
