"""Gradients attached to a step that has run."""

from typing import Any

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.ops._backend import Quantized, Step
from spinlock.ops._gradients import latents_gradient, weight_gradient
from spinlock.ops._library import layout_spec
from spinlock.ops._library_rules import OPS
from spinlock.ops._second_order import refuse_second_order
from spinlock.ops._traced import is_traced, is_transformed
from spinlock.ops._transformed import attach_transformed

__all__ = ["with_gradients", "with_gradients_directly"]


class _Attach(torch.autograd.Function):
    """Latents and weight -> quantized, commitment, its mean, and codebook loss if weights learn."""

    @staticmethod
    def forward(
        ctx: Any,
        latents: Tensor,
        weight: Tensor,
        step: Step,
        layout: CodebookLayout,
        backend: str | None,
        rotation: bool,
        codebooks: Tensor | None,
    ) -> tuple[Tensor, ...]:
        codes, indices, losses, counts, _ = step
        mean = _mean_of(step)
        ctx.layout, ctx.backend, ctx.rotation = layout, backend, rotation
        ctx.weight_dtype = weight.dtype
        ctx.set_materialize_grads(False)
        ctx.keeps_codebooks = codebooks is not None
        # Never the codebooks themselves: those change in place. Nor what users may change.
        kept = codes if codebooks is None else codebooks
        numbers = indices if codebooks is None else indices.clone()
        ctx.save_for_backward(latents, kept, numbers, counts)
        quantized = _like(codes, latents)
        if quantized is kept:
            quantized = codes.clone()
        if not weight.requires_grad:
            return quantized, losses, mean
        return quantized, losses, mean, losses.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        latents, codes, indices, counts = ctx.saved_tensors
        kept = (codes, indices) if ctx.keeps_codebooks else codes
        quantized, commitment, mean, codebook = (*grads, None)[:4]
        latents_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            latents_grad = latents_gradient(
                latents,
                kept,
                counts,
                quantized,
                _of_losses(commitment, mean, codes, ctx.layout),
                ctx.layout,
                ctx.backend,
                ctx.rotation,
            )
        if ctx.needs_input_grad[1] and not (commitment is None and codebook is None):
            weight_grad = _weight_gradient(ctx, latents, codes, indices, counts, codebook)
        return latents_grad, weight_grad, None, None, None, None, None


def _weight_gradient(
    ctx: Any,
    latents: Tensor,
    codes: Tensor,
    indices: Tensor,
    counts: Tensor,
    grad_losses: Tensor | None,
) -> Tensor | None:
    # What it would be differentiated by, the codebooks, is not kept.
    with torch.no_grad():
        per_loss = _of_losses(grad_losses, None, codes, ctx.layout)
        found = weight_gradient(
            latents, codes, indices, counts, per_loss, ctx.layout, ctx.backend
        ).to(ctx.weight_dtype)
    return refuse_second_order("the codebook loss by the codes", found)[0]


def _like(values: Tensor, other: Tensor) -> Tensor:
    """In the dtype of the other; ``to`` takes its time even where there is nothing to do."""
    return values if values.dtype is other.dtype else values.to(other.dtype)


def _mean_of(step: Step) -> Tensor:
    return step.losses.mean() if step.mean_loss is None else step.mean_loss


def _of_losses(
    grad_losses: Tensor | None, grad_mean: Tensor | None, codes: Tensor, layout: CodebookLayout
) -> Tensor:
    """[Q], from the gradients of the losses and of their mean; None is 0."""
    count = layout.num_quantizers
    if grad_mean is None:
        return codes.new_zeros(1).expand(count) if grad_losses is None else grad_losses
    share = (grad_mean / count).expand(count)
    return share if grad_losses is None else grad_losses + share


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
    if not is_traced(latents, weight):
        return with_gradients_directly(latents, weight, layout, step, rotation, backend)
    transformed = is_transformed()
    wanted = transformed or latents.requires_grad or weight.requires_grad
    if not (wanted and torch.is_grad_enabled()):
        return _without_gradients(latents, step)
    operator = attach_transformed if transformed else OPS.attach_gradients
    spec = layout_spec(layout)
    codes, indices, losses, counts, _ = step
    found = operator(latents, weight, codes, indices, losses, counts, *spec, backend, rotation)
    quantized, commitment, *rest = found
    codebook_loss = rest[0] if weight.requires_grad or transformed else commitment.detach()
    mean = commitment.mean()
    quantized = _like(quantized, latents)
    return Quantized(quantized, step.indices, commitment, codebook_loss, step.counts, mean)


def with_gradients_directly(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    step: Step,
    rotation: bool,
    backend: str | None,
    codebooks: Tensor | None = None,
) -> Quantized:
    """:func:`with_gradients` of a call that nobody watches.

    ``codebooks`` is what ``codebooks_to_keep`` returned before the step.
    """
    if not ((latents.requires_grad or weight.requires_grad) and torch.is_grad_enabled()):
        return _without_gradients(latents, step)
    found = _Attach.apply(  # type: ignore[no-untyped-call]
        latents, weight, step, layout, backend, rotation, codebooks
    )
    quantized, commitment, mean, *rest = found
    codebook_loss = rest[0] if rest else commitment.detach()
    quantized = _like(quantized, latents)
    return Quantized(quantized, step.indices, commitment, codebook_loss, step.counts, mean)


def _without_gradients(latents: Tensor, step: Step) -> Quantized:
    losses, mean = step.losses, _mean_of(step)
    quantized = _like(step.quantized, latents)
    return Quantized(quantized, step.indices, losses, losses, step.counts, mean)
