"""Sums of the rows of each code, the same bits in whatever order they are added.

Rows become 64-bit integers in units of 2^-e, with e chosen per code from its largest value and the
number of rows, so that no sum overflows; integer atomics commute.  One unit is at most
2^-(60 - log2 B) of the code's largest value: finer than a float32 sum by far.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import CODE, DIM, FIELDS, INPUT, SIZES, STRIDE, WEIGHT

__all__ = ["accumulate_codes", "fixed_exponent", "power_of_two"]


@triton.jit
def fixed_exponent(peak_bits, LOG_ROWS: tl.constexpr):
    """int32: e such that 2^LOG_ROWS values of at most ``peak`` fit 62 bits in units of 2^-e."""
    return 61 - LOG_ROWS - (((peak_bits >> 23) & 255) - 126)


@triton.jit
def power_of_two(exponent):
    """float64 2^exponent, -1022 <= exponent <= 1023, exactly."""
    return ((exponent.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit(do_not_specialize=SIZES)
def accumulate_codes(
    x_ptr,
    x_stride,
    table_ptr,
    tiles_ptr,
    indices_ptr,
    peaks_ptr,
    sums_ptr,
    num_rows,
    num_quantizers,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    LOG_ROWS: tl.constexpr,
):
    """Program t adds row tile ``tiles[t]`` to int64 [weight_size], zero at first.

    Args:
        peaks_ptr: int32 [total_codes] of ``gather_codes``.
        LOG_ROWS: at least log2 of num_rows.
    """
    tile = tl.program_id(0)
    q = tl.load(tiles_ptr + 2 * tile)
    row0 = tl.load(tiles_ptr + 2 * tile + 1)
    entry = table_ptr + q * FIELDS
    column = tl.load(entry + INPUT)
    dim = tl.load(entry + DIM).to(tl.int32)
    stride = tl.load(entry + STRIDE)
    rows = row0 + tl.arange(0, BLOCK_ROWS)
    row_mask = rows < num_rows
    row_ptrs = x_ptr + rows.to(tl.int64) * x_stride + column
    index_ptrs = indices_ptr + rows.to(tl.int64) * num_quantizers + q
    index = tl.load(index_ptrs, mask=row_mask, other=0).to(tl.int64)
    peak = tl.load(peaks_ptr + tl.load(entry + CODE) + index, mask=row_mask, other=0)
    unit = power_of_two(fixed_exponent(peak, LOG_ROWS))
    usable = row_mask
    for first in range(0, dim, BLOCK_DIM):
        d = first + tl.arange(0, BLOCK_DIM)
        mask = row_mask[:, None] & (d < dim)[None, :]
        x = tl.load(row_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
        damaged = tl.max(tl.where(tl.abs(x) <= 3.4028234663852886e38, 0, 1), axis=1)
        usable = usable & (damaged == 0)
    sum_ptrs = sums_ptr + tl.load(entry + WEIGHT) + index * stride
    for first in range(0, dim, BLOCK_DIM):
        d = first + tl.arange(0, BLOCK_DIM)
        mask = usable[:, None] & (d < dim)[None, :]
        x = tl.load(row_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
        units = (x.to(tl.float64) * unit[:, None]).to(tl.int64)
        tl.atomic_add(sum_ptrs[:, None] + d[None, :], units, mask=mask, sem="relaxed")
