"""Sums of the rows of each code, the same bits in whatever order they are added.

Rows become 64-bit integers in units of 2^-e, with e chosen per code from its largest value and the
number of rows, so that no sum overflows; integer atomics commute.  One unit is 2^-35 of the power
of two above the code's largest value (more from 2^26 rows on): finer than float32 by far.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import CODE, DIM, FIELDS, INPUT, SIZES, STRIDE, WEIGHT
from .row_tiles import row_tile

__all__ = ["LEAST_LOG_ROWS", "accumulate_codes", "fixed_exponent", "power_of_two"]

_BITS = tl.constexpr(35)
# Up to 2^26 rows a sum of values of 35 bits fits 62: fewer change nothing.
LEAST_LOG_ROWS = 61 - _BITS.value


@triton.jit
def fixed_exponent(peak_bits, LOG_ROWS: tl.constexpr):
    """int32: e such that 2^LOG_ROWS values of at most ``peak`` fit 62 bits in units of 2^-e."""
    BITS: tl.constexpr = _BITS if LOG_ROWS <= 61 - _BITS else 61 - LOG_ROWS
    return 126 - ((peak_bits >> 23) & 255) + BITS


@triton.jit
def power_of_two(exponent):
    """float64 2^exponent, -1022 <= exponent <= 1023, exactly."""
    return ((exponent.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit(do_not_specialize=SIZES)
def accumulate_codes(
    x_ptr,
    x_stride,
    table_ptr,
    members_ptr,
    num_members,
    chosen_ptr,
    peaks_ptr,
    sums_ptr,
    num_rows,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    LOG_ROWS: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """A program adds one ``row_tile`` to int64 [weight_size], zero at first.

    Args:
        chosen_ptr: int32 [Q, num_rows], codes, -1 for rows that are left out.
        peaks_ptr: int32 [total_codes] of ``gather_codes``.
        LOG_ROWS: at least log2 of num_rows.
        ALIGNED: columns, strides and dims are multiples of 4.
    """
    q, row0 = row_tile(members_ptr, num_members, BLOCK_ROWS)
    entry = table_ptr + q * FIELDS
    column = tl.load(entry + INPUT)
    dim = tl.load(entry + DIM).to(tl.int32)
    stride = tl.load(entry + STRIDE)
    x_row = x_stride.to(tl.int64)
    if ALIGNED:
        column = tl.multiple_of(column, 4)
        x_row = tl.multiple_of(x_row, 4)
        dim = tl.multiple_of(dim, 4)
    rows = row0 + tl.arange(0, BLOCK_ROWS)
    code = tl.load(chosen_ptr + q.to(tl.int64) * num_rows + rows, mask=rows < num_rows, other=-1)
    usable = code >= 0
    peak = tl.load(peaks_ptr + tl.load(entry + CODE) + code, mask=usable, other=0)
    unit = power_of_two(fixed_exponent(peak, LOG_ROWS))
    row_ptrs = x_ptr + rows.to(tl.int64) * x_row + column
    sum_ptrs = sums_ptr + tl.load(entry + WEIGHT) + code.to(tl.int64) * stride
    for first in range(0, dim, BLOCK_DIM):
        d = first + tl.arange(0, BLOCK_DIM)
        mask = usable[:, None] & (d < dim)[None, :]
        x = tl.load(row_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
        units = (x.to(tl.float64) * unit[:, None]).to(tl.int64)
        tl.atomic_add(sum_ptrs[:, None] + d[None, :], units, mask=mask, sem="relaxed")
