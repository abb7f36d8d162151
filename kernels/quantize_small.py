"""The whole step of a bank of small codebooks in one launch: lookup, gather, error, statistics.

Every (quantizer, row tile) compares its rows with all codes by float32 differences, whose certified
distances hardly ever need the float64 of the truth, so that there is no first pass.  Statistics are
partial sums per slab, the rows of one tile of every quantizer, laid out like the weight, which
``refresh_codes`` adds up in order: deterministic without atomics.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import CODE, DIM, FIELDS, INPUT, SIZE, SIZES, STRIDE, WEIGHT
from .row_tiles import row_tile
from .truth import nearest_directly

__all__ = ["quantize_small"]


@triton.jit(do_not_specialize=SIZES)
def quantize_small(
    x_ptr,
    x_stride,
    out_stride,
    weight_ptr,
    table_ptr,
    members_ptr,
    num_members,
    indices_ptr,
    quantized_ptr,
    errors_ptr,
    counts_ptr,
    sums_ptr,
    ema_counts_ptr,
    old_counts_ptr,
    ticket_ptr,
    num_rows,
    num_quantizers,
    total_codes,
    weight_size,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    QUANTIZE: tl.constexpr,
    STATISTICS: tl.constexpr,
    KEEP_COUNTS: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """A program does one ``row_tile``.

    Args:
        x_ptr: float32, float16 or bfloat16 [num_rows, input_width], rows ``x_stride`` apart.
        indices_ptr: int64 [num_rows, Q].
        quantized_ptr: [num_rows, input_width] in the rows' dtype, rows ``out_stride`` apart, if
            QUANTIZE.
        errors_ptr: float32 [num_slabs, Q], sums of squared errors over usable rows, if QUANTIZE.
        counts_ptr: float32 [num_slabs, total_codes], if QUANTIZE.
        sums_ptr: float32 [num_slabs, weight_size], if STATISTICS.
        ema_counts_ptr, old_counts_ptr: float32 [total_codes]; the first is copied to the second if
            KEEP_COUNTS, so that the refresh may write the first while it reads the second.
        ticket_ptr: float32, set to 0 for the refresh if QUANTIZE.
        BLOCK_CODES: at least every K_q if QUANTIZE.
        ALIGNED: columns, strides and dims are multiples of 4.
    """
    q, row0 = row_tile(members_ptr, num_members, BLOCK_ROWS)
    entry = table_ptr + q * FIELDS
    column = tl.load(entry + INPUT)
    dim = tl.load(entry + DIM).to(tl.int32)
    size = tl.load(entry + SIZE).to(tl.int32)
    weight_offset = tl.load(entry + WEIGHT)
    stride = tl.load(entry + STRIDE)
    code_offset = tl.load(entry + CODE)
    x_row, out_row = x_stride.to(tl.int64), out_stride.to(tl.int64)
    if ALIGNED:
        column = tl.multiple_of(column, 4)
        dim = tl.multiple_of(dim, 4)
        weight_offset = tl.multiple_of(weight_offset, 4)
        stride = tl.multiple_of(stride, 4)
        x_row = tl.multiple_of(x_row, 4)
        out_row = tl.multiple_of(out_row, 4)
    rows = row0 + tl.arange(0, BLOCK_ROWS)
    row_mask = rows < num_rows
    row_ptrs = x_ptr + rows.to(tl.int64) * x_row + column
    index, usable = nearest_directly(
        row_ptrs,
        row_mask,
        weight_ptr + weight_offset,
        stride,
        size,
        dim,
        BLOCK_ROWS,
        BLOCK_CODES,
        BLOCK_DIM,
    )
    slab = (row0 // BLOCK_ROWS).to(tl.int64)
    lane = tl.arange(0, BLOCK_CODES)
    # A row that is left out matches no code.
    chosen = lane[:, None] == tl.where(usable, index, -1)[None, :]
    code_ids = code_offset + lane
    if QUANTIZE:
        counts = tl.sum(chosen.to(tl.float32), axis=1)
        tl.store(counts_ptr + slab * total_codes + code_ids, counts, mask=lane < size)
        if tl.program_id(0) == 0:
            tl.store(ticket_ptr, 0.0)
    if KEEP_COUNTS:
        if row0 == 0:
            old = tl.load(ema_counts_ptr + code_ids, mask=lane < size, other=0.0)
            tl.store(old_counts_ptr + code_ids, old, mask=lane < size)
    if QUANTIZE:
        error = tl.zeros((BLOCK_ROWS,), tl.float32)
        code_ptrs = weight_ptr + weight_offset + index.to(tl.int64) * stride
        out_ptrs = quantized_ptr + rows.to(tl.int64) * out_row + column
        sums_ptrs = sums_ptr + slab * weight_size + weight_offset + lane.to(tl.int64) * stride
        for first in range(0, stride, BLOCK_DIM):
            d = first + tl.arange(0, BLOCK_DIM)
            mask = row_mask[:, None] & (d < dim)[None, :]
            x = tl.load(row_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
            x = tl.where(usable[:, None], x, 0.0)
            code = tl.load(code_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
            out = code.to(quantized_ptr.dtype.element_ty)
            tl.store(out_ptrs[:, None] + d[None, :], out, mask=mask)
            difference = tl.where(usable[:, None], x - code, 0.0)
            error += tl.sum(difference * difference, axis=1)
            if STATISTICS:
                part = _sum_by_code(chosen.to(tl.float32), x)
                here = (lane < size)[:, None] & (d < stride)[None, :]
                tl.store(sums_ptrs[:, None] + d[None, :], part, mask=here)
        tl.store(errors_ptr + slab * num_quantizers + q, tl.sum(error, axis=0))
    tl.store(
        indices_ptr + rows.to(tl.int64) * num_quantizers + q, index.to(tl.int64), mask=row_mask
    )


@triton.jit
def _sum_by_code(chosen, x):
    """One-hot [codes, rows] times rows: three parts of 11, 11 and 2 bits, exact in tf32."""
    high = (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)
    rest = x - high
    middle = (rest.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)
    total = tl.dot(chosen, rest - middle, input_precision="tf32")
    total = tl.dot(chosen, middle, total, input_precision="tf32")
    return tl.dot(chosen, high, total, input_precision="tf32")
