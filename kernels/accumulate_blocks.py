"""Sums of the rows of each code by matrix products, for codebooks that are not too large.

A one-hot matrix [codes, rows] times the rows adds up what belongs together, and is exact here: rows
become integers in units of 2^-e (``accumulate_codes``), cut into three digits of 12 bits.  Digits
and ones are exact in float16, and the sum of a digit over a chunk of rows is below 2^24, exact in
float32 in whatever order the tensor core adds.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .accumulate_codes import fixed_exponent
from .bank import CODE, DIM, FIELDS, INPUT, SIZE, SIZES, STRIDE, WEIGHT

__all__ = ["accumulate_blocks"]

_DIGIT = tl.constexpr(4096.0)


@triton.jit(do_not_specialize=SIZES)
def accumulate_blocks(
    x_ptr,
    x_stride,
    table_ptr,
    blocks_ptr,
    chosen_ptr,
    peaks_ptr,
    sums_ptr,
    num_rows,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    CHUNK: tl.constexpr,
    LOG_ROWS: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Program (t, c) adds rows c * CHUNK .. of block ``blocks[t]`` = (quantizer, code, dim).

    Args:
        chosen_ptr: int32 [Q, num_rows], codes, -1 for rows that are left out.
        peaks_ptr: int32 [total_codes] of ``gather_codes``.
        sums_ptr: int64 [weight_size], zero at first, in the units of ``accumulate_codes``.
        CHUNK: at most 2048 rows, a multiple of BLOCK_ROWS.
        ALIGNED: columns, strides and dims are multiples of 4.
    """
    block = blocks_ptr + 3 * tl.program_id(0)
    q = tl.load(block)
    first = tl.load(block + 1)
    d = tl.load(block + 2) + tl.arange(0, BLOCK_DIM)
    entry = table_ptr + q * FIELDS
    column = tl.load(entry + INPUT)
    dim = tl.load(entry + DIM).to(tl.int32)
    size = tl.load(entry + SIZE).to(tl.int32)
    x_row = x_stride.to(tl.int64)
    if ALIGNED:
        column = tl.multiple_of(column, 4)
        x_row = tl.multiple_of(x_row, 4)
        dim = tl.multiple_of(dim, 4)
    chosen_ptr += q.to(tl.int64) * num_rows
    peaks_ptr += tl.load(entry + CODE)
    lane = first + tl.arange(0, BLOCK_CODES)
    row = tl.arange(0, BLOCK_ROWS)
    high = tl.zeros((BLOCK_CODES, BLOCK_DIM), tl.float32)
    middle = tl.zeros((BLOCK_CODES, BLOCK_DIM), tl.float32)
    low = tl.zeros((BLOCK_CODES, BLOCK_DIM), tl.float32)
    begin = tl.program_id(1) * CHUNK
    for row0 in range(begin, tl.minimum(begin + CHUNK, num_rows), BLOCK_ROWS):
        rows = row0 + row
        code = tl.load(chosen_ptr + rows, mask=rows < num_rows, other=-1)
        here = (code >= first) & (code < first + BLOCK_CODES)
        x_ptrs = x_ptr + (rows.to(tl.int64) * x_row + column)[:, None] + d[None, :]
        x = tl.load(x_ptrs, mask=here[:, None] & (d < dim)[None, :], other=0.0).to(tl.float32)
        exponent = fixed_exponent(tl.load(peaks_ptr + code, mask=here, other=0), LOG_ROWS)
        # In two steps, for 2^exponent may be beyond float32.
        half = exponent >> 1
        units = x * _power(half)[:, None] * _power(exponent - half)[:, None]
        one = (lane[:, None] == code[None, :]).to(tl.float16)
        digit = tl.floor(units * (1.0 / (_DIGIT * _DIGIT)) + 0.5)
        high = tl.dot(one, digit.to(tl.float16), high)
        units -= digit * (_DIGIT * _DIGIT)
        digit = tl.floor(units * (1.0 / _DIGIT) + 0.5)
        middle = tl.dot(one, digit.to(tl.float16), middle)
        digit = tl.floor(units - digit * _DIGIT + 0.5)
        low = tl.dot(one, digit.to(tl.float16), low)
    total = (high.to(tl.int64) << 24) + (middle.to(tl.int64) << 12) + low.to(tl.int64)
    stride = tl.load(entry + STRIDE)
    sum_ptrs = sums_ptr + tl.load(entry + WEIGHT) + (lane.to(tl.int64) * stride)[:, None]
    mask = (lane < size)[:, None] & (d < dim)[None, :] & (total != 0)
    tl.atomic_add(sum_ptrs + d[None, :], total, mask=mask, sem="relaxed")


@triton.jit
def _power(exponent):
    """float32 2^exponent, -126 <= exponent <= 127."""
    return ((exponent + 127) << 23).to(tl.float32, bitcast=True)
