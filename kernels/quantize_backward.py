"""The gradient of the rows: straight-through plus commitment, in one launch.

grad_x = grad_quantized + 2 grad_commitment_q (x - code) / (rows_q D_q), and 0 for rows left out.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import CODE, DIM, FIELDS, INPUT, SIZE, SIZES
from .row_tiles import row_tile
from .truth import usable_rows

__all__ = ["quantize_backward"]


@triton.jit(do_not_specialize=SIZES)
def quantize_backward(
    x_ptr,
    x_stride,
    quantized_ptr,
    quantized_stride,
    grad_quantized_ptr,
    grad_quantized_stride,
    grad_commitment_ptr,
    counts_ptr,
    grad_ptr,
    grad_stride,
    table_ptr,
    members_ptr,
    num_members,
    num_rows,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """A program does one ``row_tile``.

    Args:
        x_ptr, quantized_ptr, grad_quantized_ptr, grad_ptr: [num_rows, input_width].
        grad_commitment_ptr: float32 [Q].
        counts_ptr: [total_codes], rows of this batch per code, from which rows_q follows.
        ALIGNED: columns, strides and dims are multiples of 4.
    """
    q, row0 = row_tile(members_ptr, num_members, BLOCK_ROWS)
    entry = table_ptr + q * FIELDS
    column = tl.load(entry + INPUT)
    dim = tl.load(entry + DIM).to(tl.int32)
    size = tl.load(entry + SIZE).to(tl.int32)
    counts_ptr += tl.load(entry + CODE)
    x_row, code_row = x_stride.to(tl.int64), quantized_stride.to(tl.int64)
    upstream_row, grad_row = grad_quantized_stride.to(tl.int64), grad_stride.to(tl.int64)
    if ALIGNED:
        column = tl.multiple_of(column, 4)
        dim = tl.multiple_of(dim, 4)
        x_row = tl.multiple_of(x_row, 4)
        code_row = tl.multiple_of(code_row, 4)
        upstream_row = tl.multiple_of(upstream_row, 4)
        grad_row = tl.multiple_of(grad_row, 4)
    used = tl.zeros((BLOCK_CODES,), tl.float32)
    for first in range(0, size, BLOCK_CODES):
        k = first + tl.arange(0, BLOCK_CODES)
        used += tl.load(counts_ptr + k, mask=k < size, other=0).to(tl.float32)
    values = tl.maximum(tl.sum(used, axis=0) * dim.to(tl.float32), 1.0)
    factor = 2.0 * tl.load(grad_commitment_ptr + q).to(tl.float32) / values
    rows = row0 + tl.arange(0, BLOCK_ROWS)
    row_mask = rows < num_rows
    wide = rows.to(tl.int64)
    row_ptrs = x_ptr + wide * x_row + column
    usable = usable_rows(row_ptrs, row_mask, dim, BLOCK_ROWS, BLOCK_DIM)
    code_ptrs = quantized_ptr + wide * code_row + column
    upstream_ptrs = grad_quantized_ptr + wide * upstream_row + column
    grad_ptrs = grad_ptr + wide * grad_row + column
    for first in range(0, dim, BLOCK_DIM):
        d = first + tl.arange(0, BLOCK_DIM)
        mask = row_mask[:, None] & (d < dim)[None, :]
        x = tl.load(row_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
        code = tl.load(code_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
        upstream = tl.load(upstream_ptrs[:, None] + d[None, :], mask=mask, other=0.0)
        grad = upstream.to(tl.float32) + factor * (x - code)
        grad = tl.where(usable[:, None], grad, 0.0).to(grad_ptr.dtype.element_ty)
        tl.store(grad_ptrs[:, None] + d[None, :], grad, mask=mask)
