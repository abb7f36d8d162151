"""Affine maps of different shapes, side by side, in one call: what feeds and follows codebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from spinlock import _C
from spinlock.errors import InputError
from spinlock.ops._row_memory import as_dense, as_rows
from spinlock.ops._second_order import refuse_second_order
from spinlock.ops._traced import is_traced

__all__ = ["fits_core", "plain_products", "plain_ragged_linear", "ragged_linear"]

_plain_wanted: ContextVar[bool] = ContextVar("plain_wanted", default=False)


def ragged_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_widths: Sequence[int],
    out_widths: Sequence[int],
    *,
    addend: Tensor | None = None,
    relu: bool = False,
    transposed: bool = False,
) -> Tensor:
    """Group g of the result is ``x_g W_g + b_g``, for G groups whose columns lie side by side.

    On a CPU in float32 one call of the C++ core computes all groups, and one their gradients; it
    reads no padding, and its results are bitwise the same for any number of threads.  Elsewhere,
    and where a call is traced or transformed, :func:`plain_ragged_linear` does the same.

    Args:
        x: ``[B, sum(in_widths)]``.
        weight: ``[G, max(in_widths), max(out_widths)]``, or ``[G, max(out), max(in)]`` if
            ``transposed``; what lies outside a group's own widths is not looked at and has no
            gradient.
        bias: ``[G, 1, max(out_widths)]`` likewise, or None.
        in_widths, out_widths: columns of each group, 1 or more.
        addend: ``[B, sum(out_widths)]``, instead of a bias.
        relu: whether what is below 0 becomes 0.
        transposed: how the weight lies.

    Returns:
        ``[B, sum(out_widths)]``.

    Raises:
        InputError: tensors of other shapes, or both a bias and an addend.

    >>> x, weight = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(2, 2, 1)
    >>> ragged_linear(x, weight, None, in_widths=(2, 1), out_widths=(1, 1)).tolist()
    [[3.0, 3.0]]
    """
    ins, outs = tuple(in_widths), tuple(out_widths)
    _check(x, weight, bias, addend, ins, outs, transposed)
    if fits_core(x, weight, bias, addend):
        shape = _shape(ins, outs, transposed)
        return cast(Tensor, _RaggedLinear.apply(x, weight, bias, addend, shape, relu))  # type: ignore[no-untyped-call]
    return plain_ragged_linear(
        x, weight, bias, ins, outs, addend=addend, relu=relu, transposed=transposed
    )


def plain_ragged_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_widths: Sequence[int],
    out_widths: Sequence[int],
    *,
    addend: Tensor | None = None,
    relu: bool = False,
    transposed: bool = False,
) -> Tensor:
    """The truth of :func:`ragged_linear`: one product per group, for any device and type."""
    maps = weight.transpose(1, 2) if transposed else weight
    parts = []
    for g, part in enumerate(torch.split(x, list(in_widths), dim=1)):
        product = part @ maps[g, : in_widths[g], : out_widths[g]]
        parts.append(product if bias is None else product + bias[g, :, : out_widths[g]])
    result = torch.cat(parts, dim=1)
    if addend is not None:
        result = result + addend
    return torch.relu(result) if relu else result


@contextmanager
def plain_products() -> Iterator[None]:
    """Torch's own products within the block, as a traced or exported program takes them.

    They add up in another order than the core: results differ by float32 rounding.
    """
    token = _plain_wanted.set(True)
    try:
        yield
    finally:
        _plain_wanted.reset(token)


def fits_core(*tensors: Tensor | None) -> bool:
    """Whether the C++ core takes a call with these tensors: float32 on a CPU, watched by nobody."""
    given = [each for each in tensors if each is not None]
    return (
        all(each.is_cpu and each.dtype is torch.float32 for each in given)
        and not is_traced(*given)
        and not torch.is_autocast_enabled("cpu")
        and not _plain_wanted.get()
    )


class _RaggedLinear(torch.autograd.Function):
    """The core's forward and backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        addend: Tensor | None,
        shape: _C.RaggedLinear,
        relu: bool,
    ) -> Tensor:
        rows = as_rows(x)
        output = torch.empty(len(x), shape.out_width, dtype=torch.float32, device="cpu")
        matrices = as_dense(weight)
        bias, addend = (None if each is None else as_dense(each) for each in (bias, addend))
        shape.forward(
            rows,
            matrices,
            bias=bias,
            addend=addend,
            positive=relu,
            output=output,
            threads=torch.get_num_threads(),
        )
        ctx.save_for_backward(rows, weight, output if relu else None)
        ctx.shape = shape
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, output = ctx.saved_tensors
        shape: _C.RaggedLinear = ctx.shape
        wants_x, wants_weight, wants_bias, wants_addend, *_ = ctx.needs_input_grad
        rows, weight, grad = rows.detach(), as_dense(weight.detach()), as_rows(grad.detach())
        to_x = rows.new_empty(rows.shape) if wants_x else None
        to_weight = torch.empty_like(weight) if wants_weight else None
        to_bias = weight.new_empty(len(weight), 1, shape.most_out) if wants_bias else None
        shape.backward(
            rows,
            weight,
            output=output,
            grad=grad,
            grad_input=to_x,
            grad_weight=to_weight,
            grad_bias=to_bias,
            threads=torch.get_num_threads(),
        )
        to_addend = grad if wants_addend else None
        if to_addend is not None and output is not None:
            to_addend = grad.where(output > 0, 0.0)
        found = to_x, to_weight, to_bias, to_addend
        return *refuse_second_order("a ragged linear map", *found), None, None


@lru_cache(maxsize=256)
def _shape(ins: tuple[int, ...], outs: tuple[int, ...], transposed: bool) -> _C.RaggedLinear:
    return _C.RaggedLinear(ins, outs, transposed)


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    addend: Tensor | None,
    ins: tuple[int, ...],
    outs: tuple[int, ...],
    transposed: bool,
) -> None:
    if not ins or len(ins) != len(outs) or min(*ins, *outs) < 1:
        raise InputError(
            "in_widths and out_widths: expected one of each per group, 1 or more, got "
            f"{list(ins)} and {list(outs)}; leave groups without columns out"
        )
    rows = x.shape[0] if x.ndim == 2 else -1
    sides = (max(outs), max(ins)) if transposed else (max(ins), max(outs))
    expected: dict[str, tuple[Tensor | None, tuple[int, ...]]] = {
        "x": (x, (rows, sum(ins))),
        "weight": (weight, (len(ins), *sides)),
        "bias": (bias, (len(ins), 1, max(outs))),
        "addend": (addend, (rows, sum(outs))),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise InputError(
                f"{name}: expected shape {list(shape)}, got {list(tensor.shape)}; the groups' "
                "columns lie side by side, their weights are padded to the widest"
            )
    if bias is not None and addend is not None:
        raise InputError("bias and addend: expected one of them at most, got both; add them up")
