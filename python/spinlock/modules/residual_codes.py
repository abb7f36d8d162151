"""Nearest codes in codebooks that somebody else owns, one after the other or level by level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.ops import nearest_codes

__all__ = ["residual_codes"]


@torch.no_grad()
def residual_codes(rows: Tensor, codebooks: Sequence[Tensor]) -> Tensor:
    """int64 [N, L]: each level takes the nearest code, exactly, to what the ones before it left.

    Args:
        rows: [N, D], any floating dtype; what a level leaves is kept in it.
        codebooks: [K_l, D] of each level, on the rows' device.

    Raises:
        InputError: codebooks that do not fit the rows, or none.

    >>> codebooks = [torch.tensor([[0.0], [10.0]]), torch.tensor([[0.0], [1.0], [2.0]])]
    >>> residual_codes(torch.tensor([[11.2], [1.9]]), codebooks)
    tensor([[1, 1],
            [0, 2]])
    """
    _check(rows, codebooks)
    columns: list[Tensor] = []
    residual = rows
    for level, book in enumerate(codebooks):
        if level:
            residual = residual - embedding(columns[-1], codebooks[level - 1])
        layout = _layout(book.shape[0], book.shape[1])
        columns.append(nearest_codes(residual, _packed(book, layout), layout).select(1, 0))
    return torch.stack(columns, dim=1)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _layout(size: int, dim: int) -> CodebookLayout:
    return CodebookLayout((size,), (dim,))


def _packed(book: Tensor, layout: CodebookLayout) -> Tensor:
    """The flat weight; most codebooks are one already."""
    (count, width), stride = book.shape, layout.padded_dims[0]
    if layout.weight_size == count * width:
        return book.reshape(-1)
    weight = book.new_zeros(layout.weight_size)
    weight[: count * stride].view(count, stride)[:, :width] = book
    return weight


def _check(rows: Tensor, codebooks: Sequence[Tensor]) -> None:
    if not codebooks:
        raise InputError("codebooks: expected one per level, got none")
    if rows.ndim != 2 or not rows.is_floating_point():
        raise InputError(
            f"rows: expected [N, D] of a floating dtype, got {list(rows.shape)} of {rows.dtype}"
        )
    for level, book in enumerate(codebooks):
        if book.ndim != 2 or book.shape[1] != rows.shape[1] or book.device != rows.device:
            raise InputError(
                f"codebook {level}: expected [K, {rows.shape[1]}] on {rows.device}, as the rows "
                f"are, got {list(book.shape)} on {book.device}"
            )
