"""Settles the rows that the first pass listed, in float64; a fixed grid, so no host waits.

Distances are first added up in the order that is fastest.  Codes within twice the rounding error of
the least one are compared again in the order of the truth; without such codes there is nothing to
compare.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import DIM, FIELDS, INPUT, SIZE, SIZES, STRIDE, WEIGHT
from .doubtful_rows import LISTED, UNLISTED
from .truth import nearest_truth

__all__ = ["recheck"]

_NO_CODE = tl.constexpr(2147483647)
# Each sum of D terms in any order is within (D + 4) 2^-53 of the exact one; four such errors meet.
_UNIT = tl.constexpr(4.5e-16)


@triton.jit(do_not_specialize=SIZES)
def recheck(
    x_ptr,
    x_stride,
    weight_ptr,
    table_ptr,
    indices_ptr,
    listed_ptr,
    counters_ptr,
    capacity,
    num_rows,
    num_quantizers,
    LIST: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Every program takes each num_programs-th row of one list, BLOCK_CODES codes at a time.

    Args:
        LIST: 0 or 1; the launch for list 1, whose rows need many codes, also settles the rows
            that found no place in either.
        Others as in ``first_pass``.
    """
    found = tl.load(counters_ptr + LIST)
    count = tl.minimum(found, capacity).to(tl.int64)
    item = tl.program_id(0).to(tl.int64)
    while item < count:
        _settle(
            x_ptr,
            x_stride,
            weight_ptr,
            table_ptr,
            indices_ptr,
            listed_ptr + (capacity * LIST + item) * LISTED,
            num_quantizers,
            BLOCK_CODES,
            BLOCK_DIM,
            ALIGNED,
        )
        item += tl.num_programs(0)
    if LIST == 1:
        if tl.maximum(found, tl.load(counters_ptr)) > capacity:
            _settle_unlisted(
                x_ptr,
                x_stride,
                weight_ptr,
                table_ptr,
                indices_ptr,
                num_rows,
                num_quantizers,
                BLOCK_CODES,
            )


@triton.jit
def _settle(
    x_ptr,
    x_stride,
    weight_ptr,
    table_ptr,
    indices_ptr,
    item_ptr,
    num_quantizers,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    q = tl.load(item_ptr)
    row = tl.load(item_ptr + 1).to(tl.int64)
    work = tl.load(item_ptr + 2)
    step = tl.load(item_ptr + 3)
    entry = table_ptr + q * FIELDS
    dim = tl.load(entry + DIM).to(tl.int32)
    size = tl.load(entry + SIZE).to(tl.int32)
    stride = tl.load(entry + STRIDE)
    column = tl.load(entry + INPUT)
    x_row = x_stride.to(tl.int64)
    weight_offset = tl.load(entry + WEIGHT)
    if ALIGNED:
        column = tl.multiple_of(column, 4)
        x_row = tl.multiple_of(x_row, 4)
        dim = tl.multiple_of(dim, 4)
        stride = tl.multiple_of(stride, 4)
        weight_offset = tl.multiple_of(weight_offset, 4)
    row_ptr = x_ptr + row * x_row + column
    codes_ptr = weight_ptr + weight_offset
    slots = work & 15
    total = slots * (work >> 4)
    lane = tl.arange(0, BLOCK_CODES)
    best = tl.full((BLOCK_CODES,), float("inf"), tl.float64)
    second = tl.full((BLOCK_CODES,), float("inf"), tl.float64)
    index = tl.full((BLOCK_CODES,), _NO_CODE, tl.int32)
    for first in range(0, total, BLOCK_CODES):
        code, exists = _listed_codes(item_ptr, slots, step, first + lane, total, size)
        distance = _fast(row_ptr, codes_ptr, stride, code, exists, dim, BLOCK_DIM)
        second = tl.minimum(second, tl.maximum(best, distance))
        index = tl.where(distance < best, code, index)
        best = tl.minimum(best, distance)
    least = tl.min(best, axis=0)
    limit = least * (1.0 + (dim + 4) * _UNIT)
    rivals = tl.sum((best <= limit).to(tl.int32), axis=0)
    chosen = tl.min(tl.where(best == least, index, _NO_CODE), axis=0)
    if (rivals > 1) | (tl.min(second, axis=0) <= limit):
        best = tl.full((BLOCK_CODES,), float("inf"), tl.float64)
        index = tl.full((BLOCK_CODES,), _NO_CODE, tl.int32)
        for first in range(0, total, BLOCK_CODES):
            code, exists = _listed_codes(item_ptr, slots, step, first + lane, total, size)
            distance = _fast(row_ptr, codes_ptr, stride, code, exists, dim, BLOCK_DIM)
            near = exists & (distance <= limit) & (distance < float("inf"))
            if tl.sum(near.to(tl.int32), axis=0) > 0:
                distance = _exact(row_ptr, codes_ptr, stride, code, near, dim)
                closer = near & ((distance < best) | ((distance == best) & (code < index)))
                best = tl.where(closer, distance, best)
                index = tl.where(closer, code, index)
        chosen = tl.min(tl.where(best == tl.min(best, axis=0), index, _NO_CODE), axis=0)
    chosen = tl.where(chosen == _NO_CODE, 0, chosen)
    tl.store(indices_ptr + row * num_quantizers + q, chosen.to(tl.int64))


@triton.jit
def _settle_unlisted(
    x_ptr,
    x_stride,
    weight_ptr,
    table_ptr,
    indices_ptr,
    num_rows,
    num_quantizers,
    BLOCK_CODES: tl.constexpr,
):
    """Rows that found no place in the list, looked for among all indices."""
    item = tl.program_id(0).to(tl.int64)
    total = num_rows.to(tl.int64) * num_quantizers
    while item < total:
        if tl.load(indices_ptr + item) == UNLISTED:
            entry = table_ptr + (item % num_quantizers) * FIELDS
            row_ptr = x_ptr + (item // num_quantizers) * x_stride + tl.load(entry + INPUT)
            chosen = nearest_truth(
                row_ptr + tl.zeros((1,), tl.int64),
                tl.full((1,), 1, tl.int1),
                weight_ptr + tl.load(entry + WEIGHT),
                tl.load(entry + STRIDE),
                tl.load(entry + SIZE).to(tl.int32),
                tl.load(entry + DIM).to(tl.int32),
                1,
                BLOCK_CODES,
            )
            tl.store(indices_ptr + item + tl.zeros((1,), tl.int64), chosen.to(tl.int64))
        item += tl.num_programs(0)


@triton.jit
def _listed_codes(item_ptr, slots, step, position, total, size):
    """(codes at these positions of an item, whether they exist)."""
    exists = position < total
    code = tl.load(item_ptr + 4 + position % slots, mask=exists, other=0)
    code += (position // slots) * step
    return code, exists & (code < size)


@triton.jit
def _fast(row_ptr, codes_ptr, stride, code, exists, dim, BLOCK_DIM: tl.constexpr):
    """float64 [BLOCK_CODES]: squared distances, added in any order; infinite where not a number."""
    distance = code.to(tl.float64) * 0.0
    code_ptrs = codes_ptr + code.to(tl.int64) * stride
    for first in range(0, dim, BLOCK_DIM):
        d = first + tl.arange(0, BLOCK_DIM)
        x = tl.load(row_ptr + d, mask=d < dim, other=0.0).to(tl.float64)
        mask = exists[:, None] & (d < dim)[None, :]
        c = tl.load(code_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float64)
        difference = tl.where((d < dim)[None, :], x[None, :] - c, 0.0)
        distance += tl.sum(difference * difference, axis=1)
    return tl.where(exists & (distance < float("inf")), distance, float("inf"))


@triton.jit
def _exact(row_ptr, codes_ptr, stride, code, wanted, dim):
    """float64 [BLOCK_CODES]: as the truth adds, dimension by dimension; infinite where unwanted."""
    distance = code.to(tl.float64) * 0.0
    code_ptrs = codes_ptr + code.to(tl.int64) * stride
    for d in range(0, dim):
        x = tl.load(row_ptr + d).to(tl.float64)
        c = tl.load(code_ptrs + d, mask=wanted, other=0.0).to(tl.float64)
        difference = x - c
        distance += difference * difference
    return tl.where(wanted & (distance < float("inf")), distance, float("inf"))
