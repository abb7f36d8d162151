"""After a first pass: codes gathered, errors, rows per code, and the largest value of each code.

The last, and each row's code with damaged rows marked, are what adding up in fixed point needs.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import CODE, DIM, FIELDS, INPUT, SIZE, SIZES, STRIDE, WEIGHT
from .row_tiles import row_tile

__all__ = ["gather_codes"]


@triton.jit(do_not_specialize=SIZES)
def gather_codes(
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
    peaks_ptr,
    chosen_ptr,
    ema_counts_ptr,
    old_counts_ptr,
    num_rows,
    num_quantizers,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    QUANTIZE: tl.constexpr,
    SUMS: tl.constexpr,
    KEEP_COUNTS: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """A program does one ``row_tile``; arguments as in ``quantize_small``, and

    Args:
        counts_ptr: int32 [total_codes], zero at first.
        peaks_ptr: int32 [total_codes], zero at first: bits of the largest |x| of a code's rows,
            if SUMS.
        chosen_ptr: int32 [Q, num_rows], codes, -1 for rows that are left out, if SUMS.
        ema_counts_ptr, old_counts_ptr: the first is copied to the second if KEEP_COUNTS.
        ALIGNED: columns, strides and dims are multiples of 4.
    """
    q, row0 = row_tile(members_ptr, num_members, BLOCK_ROWS)
    entry = table_ptr + q * FIELDS
    column = tl.load(entry + INPUT)
    dim = tl.load(entry + DIM).to(tl.int32)
    stride = tl.load(entry + STRIDE)
    code_offset = tl.load(entry + CODE)
    weight_offset = tl.load(entry + WEIGHT)
    x_row, out_row = x_stride.to(tl.int64), out_stride.to(tl.int64)
    if ALIGNED:
        column = tl.multiple_of(column, 4)
        stride = tl.multiple_of(stride, 4)
        weight_offset = tl.multiple_of(weight_offset, 4)
        x_row = tl.multiple_of(x_row, 4)
        dim = tl.multiple_of(dim, 4)
        out_row = tl.multiple_of(out_row, 4)
    rows = row0 + tl.arange(0, BLOCK_ROWS)
    row_mask = rows < num_rows
    row_ptrs = x_ptr + rows.to(tl.int64) * x_row + column
    index_ptrs = indices_ptr + rows.to(tl.int64) * num_quantizers + q
    index = tl.load(index_ptrs, mask=row_mask, other=0).to(tl.int64)
    code_ptrs = weight_ptr + weight_offset + index * stride
    out_ptrs = quantized_ptr + rows.to(tl.int64) * out_row + column
    error = tl.zeros((BLOCK_ROWS,), tl.float32)
    peak = tl.zeros((BLOCK_ROWS,), tl.float32)
    damaged = tl.zeros((BLOCK_ROWS,), tl.int32)
    for first in range(0, dim, BLOCK_DIM):
        d = first + tl.arange(0, BLOCK_DIM)
        mask = row_mask[:, None] & (d < dim)[None, :]
        x = tl.load(row_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
        finite = tl.abs(x) <= 3.4028234663852886e38  # False for NaN
        damaged = tl.maximum(damaged, tl.max(tl.where(finite, 0, 1), axis=1))
        if QUANTIZE:
            code = tl.load(code_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
            out = code.to(quantized_ptr.dtype.element_ty)
            tl.store(out_ptrs[:, None] + d[None, :], out, mask=mask)
            error += tl.sum((x - code) * (x - code), axis=1)
        peak = tl.maximum(peak, tl.max(tl.abs(x), axis=1))
    usable = row_mask & (damaged == 0)
    if QUANTIZE:
        slab = (row0 // BLOCK_ROWS).to(tl.int64)
        tl.store(
            errors_ptr + slab * num_quantizers + q, tl.sum(tl.where(usable, error, 0.0), axis=0)
        )
    if SUMS:
        chosen = tl.where(usable, index, -1).to(tl.int32)
        tl.store(chosen_ptr + q.to(tl.int64) * num_rows + rows, chosen, mask=row_mask)
    # Integers: the order in which they arrive does not matter.
    ids = code_offset + index
    one = tl.full((BLOCK_ROWS,), 1, tl.int32)
    tl.atomic_add(counts_ptr + ids, one, mask=usable, sem="relaxed")
    if SUMS:
        bits = peak.to(tl.int32, bitcast=True)
        # Peaks only grow: an old value seen here costs an atomic, no more.
        larger = usable & (bits > tl.load(peaks_ptr + ids, mask=usable, other=0))
        tl.atomic_max(peaks_ptr + ids, bits, mask=larger, sem="relaxed")
    if KEEP_COUNTS:
        if row0 == 0:
            size = tl.load(entry + SIZE).to(tl.int32)
            for first in range(0, size, BLOCK_ROWS):
                k = first + tl.arange(0, BLOCK_ROWS)
                old = tl.load(ema_counts_ptr + code_offset + k, mask=k < size, other=0.0)
                tl.store(old_counts_ptr + code_offset + k, old, mask=k < size)
