"""The gradients of quantization, as plain functions of what a step returned.

The codebooks that a step used change in place before its backward pass: what is read here are the
rows of codes, or a copy of the codebooks.
"""

from typing import Protocol, cast

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.ops._backend import resolve_fused, usable_fused
from spinlock.ops._rotation import rotated_gradient
from spinlock.ops._torch import gather_codes, sum_by_code
from spinlock.ops.padding import padding_plan
from spinlock.ops.usable import usable_rows

__all__ = ["codebooks_to_keep", "latents_gradient", "plain_backward", "weight_gradient"]

# Mean dims of a code from which gathering it once more costs less than its copy.
_WIDE = 64


class _Backward(Protocol):
    """What a fused backend may have of its own."""

    def __call__(
        self,
        latents: Tensor,
        quantized: Tensor | tuple[Tensor, Tensor],
        counts: Tensor,
        grad_quantized: Tensor | None,
        grad_losses: Tensor,
        layout: CodebookLayout,
    ) -> Tensor:
        """As :func:`plain_backward`."""


def codebooks_to_keep(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    backend: str | None,
    rotation: bool,
) -> Tensor | None:
    """A copy of the codebooks, where that costs less than one of the codes of all rows.

    None: the rows' codes are to be kept, or nothing, for no gradient is wanted.  To be asked before
    the step, which changes the codebooks.

    Args:
        latents: [B, input_width].
        weight: [weight_size].
        layout: where codebooks lie.
        backend: its name, or None.
        rotation: whether gradients are rotated, for which all rows' codes are needed.
    """
    wanted = latents.requires_grad and torch.is_grad_enabled()
    if rotation or weight.requires_grad or not wanted:
        return None
    width = layout.input_width
    if 2 * layout.weight_size > latents.numel() or width < _WIDE * layout.num_quantizers:
        return None
    fused = usable_fused(backend, latents, weight)
    return weight.clone() if getattr(fused, "BACKWARD_TAKES_CODEBOOKS", False) else None


def latents_gradient(
    latents: Tensor,
    codes: Tensor | tuple[Tensor, Tensor],
    counts: Tensor,
    grad_quantized: Tensor | None,
    grad_losses: Tensor,
    layout: CodebookLayout,
    backend: str | None,
    rotation: bool,
) -> Tensor:
    """[B, input_width] in the latents' dtype: straight-through or rotated, plus commitment.

    Args:
        latents: [B, input_width].
        codes: [B, input_width] of the step, float32 or float64; or what
            :func:`codebooks_to_keep` returned, and the step's indices int64 [B, Q].
        counts: int64 [total_codes] of the step.
        grad_quantized: [B, input_width]; None: zeros.
        grad_losses: [Q], of the commitment terms.
        layout: where columns lie.
        backend: its name, or None.
        rotation: whether ``grad_quantized`` is rotated first.
    """
    if rotation and grad_quantized is not None:
        rows = _rows_of(codes, layout)
        # The rotation is held constant, in second derivatives too.
        grad_quantized = rotated_gradient(grad_quantized, latents.detach(), rows, layout)
    if torch.is_grad_enabled():  # create_graph=True: the plain form can be differentiated again
        rows = _rows_of(codes, layout)
        return plain_backward(latents, rows, counts, grad_quantized, grad_losses, layout)
    fused = resolve_fused(backend, latents, codes if isinstance(codes, Tensor) else codes[0])
    own = cast(_Backward, getattr(fused, "backward", plain_backward))
    return own(latents, codes, counts, grad_quantized, grad_losses, layout)


def _rows_of(codes: Tensor | tuple[Tensor, Tensor], layout: CodebookLayout) -> Tensor:
    if isinstance(codes, Tensor):
        return codes
    weight, indices = codes
    return gather_codes(indices, weight, layout).to(torch.float32)


def plain_backward(
    latents: Tensor,
    quantized: Tensor,
    counts: Tensor,
    grad_quantized: Tensor | None,
    grad_losses: Tensor,
    layout: CodebookLayout,
) -> Tensor:
    """grad_quantized + 2 grad_losses_q (x - c) / (rows_q D_q), 0 for rows that were skipped."""
    plan = padding_plan(layout, latents.device)
    rows = plan.sum_by_quantizer(counts)
    scale = _scale(2.0 * grad_losses, rows, plan.dims).to(quantized.dtype)
    grad = latents.to(quantized.dtype) - quantized
    grad.mul_(scale.index_select(0, plan.column_quantizer))
    if grad_quantized is not None:
        grad.add_(grad_quantized)
    if bool((rows != len(latents)).any()):
        usable = usable_rows(latents, layout)
        if usable is not None:
            grad = grad.where(usable.index_select(1, plan.column_quantizer), 0.0)
    return grad.to(latents.dtype).contiguous()  # as tracers are told, whatever the latents' strides


def weight_gradient(
    latents: Tensor,
    codes: Tensor,
    indices: Tensor,
    counts: Tensor,
    grad_losses: Tensor,
    layout: CodebookLayout,
    backend: str | None,
) -> Tensor:
    """[weight_size] in the type of ``codes``: 2 (c - x) / (rows_q D_q), added up by code.

    Args:
        latents: [B, input_width].
        codes: [B, input_width] of the step, float32 or float64.
        indices: int64 [B, Q].
        counts: int64 [total_codes] of the step.
        grad_losses: [Q], of the codebook losses.
        layout: where columns lie.
        backend: its name, or None.
    """
    plan = padding_plan(layout, latents.device)
    error = latents.to(codes.dtype) - codes
    fused = resolve_fused(backend, error)
    if fused is not None:
        sums = fused.accumulate_codes(error, indices, layout)[1]
    else:
        usable = usable_rows(latents, layout)
        if usable is not None:
            error = error.where(usable.index_select(1, plan.column_quantizer), 0.0)
        sums = sum_by_code(error, indices, layout, usable)
    scale = _scale(-2.0 * grad_losses, plan.sum_by_quantizer(counts), plan.dims)
    return sums * scale.to(sums.dtype)[plan.code_quantizer][plan.element_code]


def _scale(grad_losses: Tensor, rows: Tensor, dims: Tensor) -> Tensor:
    return grad_losses / (rows * dims).clamp_(min=1)
