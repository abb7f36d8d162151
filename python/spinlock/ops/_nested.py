"""All residual levels of all categories in one call of the C++ core, and their gradients in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from spinlock import _C
from spinlock.layout import CodebookLayout
from spinlock.ops import _cpp
from spinlock.ops._averages import mark_changed
from spinlock.ops._backend import AverageState, resolve_fused
from spinlock.ops._row_memory import as_dense, as_rows
from spinlock.ops._second_order import refuse_second_order
from spinlock.ops._traced import is_traced

__all__ = ["NestedStep", "nested_levels", "nested_step", "takes_nested"]


class NestedStep(NamedTuple):
    """What :func:`nested_step` returns, for L levels of C categories, Q = L C, level-major.

    Attributes:
        quantized: float32 [B, latent_width], the levels' codes added up; its gradient goes straight
            through to the rows.
        indices: int64 [L, B, C].
        commitment: float32 [Q], mean over usable rows and dims of (x - stop_gradient(c))^2.
        counts: int64 [total_codes], usable rows of this batch per code.
    """

    quantized: Tensor
    indices: Tensor
    commitment: Tensor
    counts: Tensor


def nested_levels(layouts: Sequence[CodebookLayout], widths: Sequence[int]) -> _C.NestedLevels:
    """The shapes as the core knows them: a layout per level, a width per category."""
    return _C.NestedLevels([layout.plan for layout in layouts], widths)


def takes_nested(backend: str | None, rows: Tensor, weight: Tensor) -> bool:
    """Whether :func:`nested_step` does what the levels one by one would do, on the core.

    Rows and codes are float32 on a CPU, codes have no gradient, and nobody watches the call.

    Raises:
        InputError: a backend that is not known or cannot take the tensors.
    """
    plain = rows.dtype is torch.float32 and weight.dtype is torch.float32
    if not plain or weight.requires_grad or is_traced(rows, weight) or weight.is_neg():
        return False
    return cast(object, resolve_fused(backend, rows, weight)) is _cpp


def nested_step(
    rows: Tensor, weight: Tensor, levels: _C.NestedLevels, state: AverageState | None
) -> NestedStep:
    """Each level looks up, of every category, the first coordinates of what is left, and learns.

    Args:
        rows: float32 [B, latent_width] on the CPU.
        weight: float32 [weight_size], all codebooks, level-major.
        levels: the shapes.
        state: moving averages and counters, changed in place with the weight; None: all stays.
    """
    return NestedStep(*_Nested.apply(rows, weight, levels, state))  # type: ignore[no-untyped-call]


class _Nested(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, levels: _C.NestedLevels, state: AverageState | None
    ) -> tuple[Tensor, ...]:
        rows = as_rows(rows)
        count, categories = len(rows), levels.num_quantizers // levels.num_levels
        seen, codes = _empty(count * levels.input_width), _empty(count * levels.input_width)
        indices = torch.empty(levels.num_levels, count, categories, dtype=torch.int64, device="cpu")
        losses = _empty(levels.num_quantizers)
        counts = torch.empty(levels.total_codes, dtype=torch.int64, device="cpu")
        total = _empty(count, levels.latent_width)
        levels.step(
            rows,
            weight,
            seen=seen,
            codes=codes,
            indices=indices,
            losses=losses,
            counts=counts,
            total=total,
            state=None if state is None else _state_of(weight, state),
            threads=torch.get_num_threads(),
        )
        if state is not None:
            mark_changed(weight, state)
        ctx.levels = levels
        ctx.set_materialize_grads(False)
        # Rows and codes, never the codebooks: those change in place.
        ctx.save_for_backward(seen, codes, counts)
        ctx.mark_non_differentiable(indices, counts)
        return total, indices, losses, counts

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        seen, codes, counts = ctx.saved_tensors
        levels: _C.NestedLevels = ctx.levels
        to_total, _, to_losses, _ = grads
        if to_total is not None:
            to_total = as_rows(to_total.detach())
        count = seen.numel() // levels.input_width
        to_rows = _empty(count, levels.latent_width)
        levels.backward(
            count,
            seen=seen,
            codes=codes,
            counts=counts,
            grad_total=to_total,
            grad_losses=None if to_losses is None else as_dense(to_losses.detach()),
            grad_rows=to_rows,
            threads=torch.get_num_threads(),
        )
        return *refuse_second_order("residual levels by their rows", to_rows), None, None, None


def _state_of(weight: Tensor, state: AverageState) -> _C.State:
    """As the core takes it; it holds sums, for codes without gradient follow them."""
    counts, sums, epoch_counts, epoch_skipped, decay, epsilon, _ = state
    return counts, cast(Tensor, sums), weight, epoch_counts, epoch_skipped, decay, epsilon


def _empty(*shape: int) -> Tensor:
    """Said in full: the default type and device may be others."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")
