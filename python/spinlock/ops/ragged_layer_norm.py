"""Layer norms of segments of different widths, side by side, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from spinlock import _C
from spinlock.errors import InputError
from spinlock.ops._column_shapes import ANY, require_shape
from spinlock.ops._row_memory import as_dense, as_rows
from spinlock.ops._second_order import refuse_second_order
from spinlock.ops.ragged_linear import fits_core

__all__ = ["core_ragged_layer_norm", "plain_ragged_layer_norm", "ragged_layer_norm"]


def ragged_layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor, widths: Sequence[int], *, epsilon: float = 1e-5
) -> Tensor:
    """``(x_g - mean) / sqrt(variance + epsilon) * weight_g + bias_g``, for G segments of a row.

    Layer normalisation (Ba, Kiros and Hinton, 2016) with the population variance.  On a CPU in
    float32 one call of the C++ core computes all segments, and one their gradients; its results
    are bitwise the same for any number of threads; it has first derivatives only.  Elsewhere,
    within :func:`~spinlock.ops.ragged_linear.plain_products`, and where a call is traced or
    transformed, :func:`plain_ragged_layer_norm` does the same.

    Args:
        x: ``[B, sum(widths)]``.
        weight: ``[G, 1, max(widths)]``; what lies outside a segment's own width is not looked at
            and has no gradient.
        bias: likewise.
        widths: columns of each segment, 1 or more.
        epsilon: added to the variance.

    Returns:
        ``[B, sum(widths)]``.

    Raises:
        InputError: tensors of other shapes.

    >>> x, ones = torch.tensor([[1.0, 3.0, 7.0]]), torch.ones(2, 1, 2)
    >>> ragged_layer_norm(x, ones, ones, (2, 1), epsilon=0.0)[0, :2].tolist()
    [0.0, 2.0]
    """
    segments = tuple(widths)
    done = core_ragged_layer_norm(x, weight, bias, segments, epsilon=epsilon)
    if done is not None:
        return done
    _check(x, weight, bias, segments)
    return plain_ragged_layer_norm(x, weight, bias, segments, epsilon=epsilon)


def core_ragged_layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor, widths: Sequence[int], *, epsilon: float = 1e-5
) -> Tensor | None:
    """:func:`ragged_layer_norm` by the C++ core, or None where it does not take the call.

    Raises:
        InputError: as :func:`ragged_layer_norm` does.
    """
    if not fits_core(x, weight, bias):
        return None
    segments = tuple(widths)
    _check(x, weight, bias, segments)
    shape = _shape(segments)
    return cast(Tensor, _RaggedLayerNorm.apply(x, weight, bias, shape, epsilon))  # type: ignore[no-untyped-call]


def plain_ragged_layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor, widths: Sequence[int], *, epsilon: float = 1e-5
) -> Tensor:
    """The truth of :func:`ragged_layer_norm`: one norm per segment, for any device and type."""
    parts = [
        torch.nn.functional.layer_norm(
            part, part.shape[1:], weight[g, 0, :width], bias[g, 0, :width], epsilon
        )
        for g, (part, width) in enumerate(
            zip(torch.split(x, list(widths), dim=1), widths, strict=True)
        )
    ]
    return torch.cat(parts, dim=1)


class _RaggedLayerNorm(torch.autograd.Function):
    """The core's forward and backward pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shape: _C.RaggedNorm, epsilon: float
    ) -> Tensor:
        rows = as_rows(x)
        output = torch.empty(x.shape, dtype=torch.float32, device="cpu")
        moments = torch.empty(len(x), 2 * shape.num_segments, dtype=torch.float32, device="cpu")
        shape.forward(
            rows,
            as_dense(weight),
            bias=as_dense(bias),
            epsilon=epsilon,
            output=output,
            moments=moments,
            threads=torch.get_num_threads(),
        )
        ctx.save_for_backward(rows, moments, weight)
        ctx.shape = shape
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, moments, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        rows, weight, grad = rows.detach(), as_dense(weight.detach()), as_rows(grad.detach())
        to_x = torch.empty(rows.shape, dtype=torch.float32, device="cpu") if wants_x else None
        to_weight = torch.empty_like(weight) if wants_weight else None
        to_bias = torch.empty_like(weight) if wants_bias else None
        ctx.shape.backward(
            rows,
            moments,
            weight=weight,
            grad=grad,
            grad_input=to_x,
            grad_weight=to_weight,
            grad_bias=to_bias,
            threads=torch.get_num_threads(),
        )
        return *refuse_second_order("a ragged layer norm", to_x, to_weight, to_bias), None, None


_shape = lru_cache(maxsize=256)(_C.RaggedNorm)


def _check(x: Tensor, weight: Tensor, bias: Tensor, widths: tuple[int, ...]) -> None:
    if not widths or min(widths) < 1:
        raise InputError(
            f"widths: expected one per segment, 1 or more, got {list(widths)}; leave segments "
            "without columns out"
        )
    rows = x.shape[0] if x.ndim == 2 else ANY
    affine = (len(widths), 1, max(widths))
    for name, tensor, shape in (
        ("x", x, (rows, sum(widths))),
        ("weight", weight, affine),
        ("bias", bias, affine),
    ):
        require_shape(name, tensor, shape, "segments")
