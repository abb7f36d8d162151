"""Affine maps of different shapes, side by side, in one call: what feeds and follows codebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from spinlock import _C
from spinlock.errors import InputError
from spinlock.ops._column_shapes import ANY, require_shape
from spinlock.ops._row_memory import as_dense, as_rows
from spinlock.ops._second_order import refuse_second_order
from spinlock.ops._traced import is_traced, is_watched

__all__ = [
    "core_ragged_linear",
    "fits_core",
    "plain_products",
    "plain_ragged_linear",
    "ragged_linear",
]

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
    reads no padding, and its results are bitwise the same for any number of threads; it has first
    derivatives only.  Elsewhere, within :func:`plain_products`, and where a call is traced or
    transformed, :func:`plain_ragged_linear` does the same.

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
    done = core_ragged_linear(
        x, weight, bias, ins, outs, addend=addend, relu=relu, transposed=transposed
    )
    if done is not None:
        return done
    _check(x, weight, bias, addend, _sides(ins, outs, transposed))
    return plain_ragged_linear(
        x, weight, bias, ins, outs, addend=addend, relu=relu, transposed=transposed
    )


def core_ragged_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    in_widths: Sequence[int],
    out_widths: Sequence[int],
    *,
    addend: Tensor | None = None,
    relu: bool = False,
    transposed: bool = False,
) -> Tensor | None:
    """:func:`ragged_linear` by the C++ core, or None where it does not take the call.

    Raises:
        InputError: as :func:`ragged_linear` does.
    """
    if not fits_core(x, weight, bias, addend):
        return None
    widths = tuple(in_widths), tuple(out_widths)
    _check(x, weight, bias, addend, _known_sides(*widths, transposed))
    shape = _shape(*widths, transposed)
    return cast(Tensor, _RaggedLinear.apply(x, weight, bias, addend, shape, relu))  # type: ignore[no-untyped-call]


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
    if is_traced() or torch.is_autocast_enabled("cpu") or _plain_wanted.get():
        return False
    for each in tensors:
        if each is not None and (
            each.dtype is not torch.float32 or not each.is_cpu or is_watched(each)
        ):
            return False
    return True


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
        # The tensor itself where it passes: autograd takes another one's memory for its own.
        to_addend = grad if wants_addend else None
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
        if to_addend is not None and output is not None:
            to_addend = grad.where(output > 0, 0.0)
        found = to_x, to_weight, to_bias, to_addend
        return *refuse_second_order("a ragged linear map", *found), None, None


class _Sides(NamedTuple):
    """Sizes of tensors, from the widths."""

    columns_in: int
    columns_out: int
    weight: tuple[int, int, int]
    bias: tuple[int, int, int]


def _sides(ins: tuple[int, ...], outs: tuple[int, ...], transposed: bool) -> _Sides:
    if not ins or len(ins) != len(outs) or min(*ins, *outs) < 1:
        raise InputError(
            "in_widths and out_widths: expected one of each per group, 1 or more, got "
            f"{list(ins)} and {list(outs)}; leave groups without columns out"
        )
    sides = (max(outs), max(ins)) if transposed else (max(ins), max(outs))
    return _Sides(sum(ins), sum(outs), (len(ins), *sides), (len(ins), 1, max(outs)))


_known_sides = lru_cache(maxsize=256)(_sides)  # a compiler that traces a call wants the plain one
_shape = lru_cache(maxsize=256)(_C.RaggedLinear)


def _check(
    x: Tensor, weight: Tensor, bias: Tensor | None, addend: Tensor | None, sides: _Sides
) -> None:
    rows = x.shape[0] if x.ndim == 2 else ANY
    for name, tensor, shape in (
        ("x", x, (rows, sides.columns_in)),
        ("weight", weight, sides.weight),
        ("bias", bias, sides.bias),
        ("addend", addend, (rows, sides.columns_out)),
    ):
        if tensor is not None:
            require_shape(name, tensor, shape, "groups")
    if bias is not None and addend is not None:
        raise InputError("bias and addend: expected one of them at most, got both; add them up")
