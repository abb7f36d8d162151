"""Gradients attached to a step that has run."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spinlock.layout import CodebookLayout
from spinlock.ops._backend import Quantized, Step
from spinlock.ops._gradients import latents_gradient, weight_gradient
from spinlock.ops._library import layout_spec
from spinlock.ops._library_rules import OPS
from spinlock.ops._traced import is_traced, is_transformed
from spinlock.ops._transformed import attach_transformed

__all__ = ["with_gradients"]


class _Attach(torch.autograd.Function):
    """Latents and weight -> quantized, commitment and, for weights that learn, codebook loss."""

    @staticmethod
    def forward(
        ctx: Any,
        latents: Tensor,
        weight: Tensor,
        step: Step,
        layout: CodebookLayout,
        backend: str | None,
        rotation: bool,
    ) -> tuple[Tensor, ...]:
        codes, indices, losses, counts = step
        ctx.layout, ctx.backend, ctx.rotation = layout, backend, rotation
        ctx.weight_dtype = weight.dtype
        ctx.set_materialize_grads(False)
        # Rows and codes, never the codebooks: those change in place.
        ctx.save_for_backward(latents, codes, indices, counts)
        # What users change in place must not be what is kept.
        quantized = codes.clone() if codes.dtype == latents.dtype else codes.to(latents.dtype)
        if not weight.requires_grad:
            return quantized, losses
        return quantized, losses, losses.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        latents, codes, indices, counts = ctx.saved_tensors
        quantized, commitment, codebook = (*grads, None)[:3]
        latents_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            latents_grad = latents_gradient(
                latents,
                codes,
                counts,
                torch.zeros_like(codes) if quantized is None else quantized,
                _given(commitment, codes, ctx.layout),
                ctx.layout,
                ctx.backend,
                ctx.rotation and quantized is not None,
            )
        if ctx.needs_input_grad[1] and not (commitment is None and codebook is None):
            weight_grad = weight_gradient(
                latents,
                codes,
                indices,
                counts,
                _given(codebook, codes, ctx.layout),
                ctx.layout,
                ctx.backend,
            ).to(ctx.weight_dtype)
        return latents_grad, weight_grad, None, None, None, None


def _given(grad_losses: Tensor | None, codes: Tensor, layout: CodebookLayout) -> Tensor:
    return codes.new_zeros(layout.num_quantizers) if grad_losses is None else grad_losses


def with_gradients(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    step: Step,
    *,
    rotation: bool = False,
    backend: str | None = None,
) -> Quantized:
    """What :func:`spinlock.ops.quantize` returns, from a step that has run on the latents' values.

    Args:
        latents: [B, input_width].
        weight: [weight_size].
        layout: where codebooks and columns lie.
        step: its codes, indices, losses and counts.
        rotation: as in :func:`spinlock.ops.quantize`.
        backend: as in :func:`spinlock.ops.nearest_codes`; for the backward pass.
    """
    transformed = is_transformed()
    wanted = transformed or latents.requires_grad or weight.requires_grad
    if not (wanted and torch.is_grad_enabled()):
        quantized, losses = step.quantized.to(latents.dtype), step.losses
        return Quantized(quantized, step.indices, losses, losses, step.counts)
    if is_traced(latents, weight):
        operator = attach_transformed if transformed else OPS.attach_gradients
        spec = layout_spec(layout)
        found = operator(latents, weight, *step, *spec, backend, rotation)
    else:
        found = _Attach.apply(  # type: ignore[no-untyped-call]
            latents, weight, step, layout, backend, rotation
        )
    quantized, commitment, *rest = found
    codebook_loss = rest[0] if weight.requires_grad or transformed else commitment.detach()
    return Quantized(
        quantized.to(latents.dtype), step.indices, commitment, codebook_loss, step.counts
    )
