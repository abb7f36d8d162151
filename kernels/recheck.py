"""Settles the rows that the first pass listed, in float64; a fixed grid, so no host waits.

Distances are first added up in the order that is fastest.  Codes within twice the rounding error of
the least one are compared again in the order of the truth; without such codes there is nothing to
compare.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import DIM, FIELDS, INPUT, SIZE, SIZES, STRIDE, WEIGHT
from .nearest_codes import LISTED, UNLISTED
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
    ITEMS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Every program takes ITEMS rows of one list at a time, BLOCK_CODES codes of each at a time.

    Args:
        LIST: 0 or 1; the launch for list 1, whose rows need many codes, also settles the rows
            that found no place in either.
        Others as in ``first_pass``.
    """
    found = tl.load(counters_ptr + LIST)
    count = tl.minimum(found, capacity)
    first = tl.program_id(0) * ITEMS
    while first < count:
        item = first + tl.arange(0, ITEMS)
        _settle(
            x_ptr,
            x_stride,
            weight_ptr,
            table_ptr,
            indices_ptr,
            listed_ptr + (capacity.to(tl.int64) * LIST + item) * LISTED,
            item < count,
            num_quantizers,
            ITEMS,
            BLOCK_CODES,
            BLOCK_DIM,
        )
        first += tl.num_programs(0) * ITEMS
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
    item_ptrs,
    real,
    num_quantizers,
    ITEMS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    q = tl.load(item_ptrs, mask=real, other=0)
    row = tl.load(item_ptrs + 1, mask=real, other=0).to(tl.int64)
    work = tl.load(item_ptrs + 2, mask=real, other=1)
    step = tl.load(item_ptrs + 3, mask=real, other=1)
    entry = table_ptr + q * FIELDS
    dim = tl.load(entry + DIM).to(tl.int32)
    size = tl.load(entry + SIZE).to(tl.int32)
    stride = tl.load(entry + STRIDE)
    row_ptrs = x_ptr + row * x_stride + tl.load(entry + INPUT)
    codes_ptrs = weight_ptr + tl.load(entry + WEIGHT)
    slots = work & 15
    total = tl.where(real, slots * (work >> 4), 0)
    most = tl.max(total, axis=0)
    widest = tl.max(dim, axis=0)
    lane = tl.arange(0, BLOCK_CODES)
    best = tl.full((ITEMS, BLOCK_CODES), float("inf"), tl.float64)
    second = tl.full((ITEMS, BLOCK_CODES), float("inf"), tl.float64)
    index = tl.full((ITEMS, BLOCK_CODES), _NO_CODE, tl.int32)
    for first in range(0, most, BLOCK_CODES):
        code, exists = _listed_codes(item_ptrs, slots, step, first + lane, total, size)
        code_ptrs = codes_ptrs[:, None] + code.to(tl.int64) * stride[:, None]
        distance = _fast(row_ptrs, code_ptrs, exists, dim, widest, BLOCK_DIM)
        second = tl.minimum(second, tl.maximum(best, distance))
        index = tl.where(distance < best, code, index)
        best = tl.minimum(best, distance)
    least = tl.min(best, axis=1)
    limit = least * (1.0 + (dim + 4) * _UNIT)
    rivals = tl.sum((best <= limit[:, None]).to(tl.int32), axis=1)
    chosen = tl.min(tl.where(best == least[:, None], index, _NO_CODE), axis=1)
    tied = real & ((rivals > 1) | (tl.min(second, axis=1) <= limit))
    if tl.max(tied.to(tl.int32), axis=0) > 0:
        best = tl.full((ITEMS, BLOCK_CODES), float("inf"), tl.float64)
        index = tl.full((ITEMS, BLOCK_CODES), _NO_CODE, tl.int32)
        for first in range(0, most, BLOCK_CODES):
            code, exists = _listed_codes(item_ptrs, slots, step, first + lane, total, size)
            code_ptrs = codes_ptrs[:, None] + code.to(tl.int64) * stride[:, None]
            distance = _fast(row_ptrs, code_ptrs, exists, dim, widest, BLOCK_DIM)
            near = exists & (distance <= limit[:, None]) & (distance < float("inf"))
            if tl.sum(tl.sum(near.to(tl.int32), axis=1), axis=0) > 0:
                distance = _exact(row_ptrs, code_ptrs, near, dim, widest)
                closer = near & ((distance < best) | ((distance == best) & (code < index)))
                best = tl.where(closer, distance, best)
                index = tl.where(closer, code, index)
        least = tl.min(best, axis=1)
        again = tl.min(tl.where(best == least[:, None], index, _NO_CODE), axis=1)
        chosen = tl.where(tied, again, chosen)
    chosen = tl.where(chosen == _NO_CODE, 0, chosen)
    tl.store(indices_ptr + row * num_quantizers + q, chosen.to(tl.int64), mask=real)


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
def _listed_codes(item_ptrs, slots, step, position, total, size):
    """[ITEMS, BLOCK_CODES]: codes at these positions of each item, and whether they exist."""
    exists = position[None, :] < total[:, None]
    slot = position[None, :] % slots[:, None]
    code = tl.load(item_ptrs[:, None] + 4 + slot, mask=exists, other=0)
    code += (position[None, :] // slots[:, None]) * step[:, None]
    return code, exists & (code < size[:, None])


@triton.jit
def _fast(row_ptrs, code_ptrs, exists, dim, widest, BLOCK_DIM: tl.constexpr):
    """float64 like ``exists``: squared distances, added in any order; infinite where none."""
    distance = tl.zeros(exists.shape, tl.float64)
    for first in range(0, widest, BLOCK_DIM):
        d = first + tl.arange(0, BLOCK_DIM)
        inside = d[None, :] < dim[:, None]
        x = tl.load(row_ptrs[:, None] + d[None, :], mask=inside, other=0.0).to(tl.float64)
        mask = exists[:, :, None] & inside[:, None, :]
        c = tl.load(code_ptrs[:, :, None] + d[None, None, :], mask=mask, other=0.0).to(tl.float64)
        difference = tl.where(mask, x[:, None, :] - c, 0.0)
        distance += tl.sum(difference * difference, axis=2)
    return tl.where(exists & (distance < float("inf")), distance, float("inf"))


@triton.jit
def _exact(row_ptrs, code_ptrs, wanted, dim, widest):
    """float64 like ``wanted``: as the truth adds, dim by dim; infinite where unwanted."""
    distance = tl.zeros(wanted.shape, tl.float64)
    for d in range(0, widest):
        x = tl.load(row_ptrs + d, mask=d < dim, other=0.0).to(tl.float64)
        mask = wanted & (d < dim)[:, None]
        c = tl.load(code_ptrs + d, mask=mask, other=0.0).to(tl.float64)
        difference = tl.where(mask, x[:, None] - c, 0.0)
        distance += difference * difference
    return tl.where(wanted & (distance < float("inf")), distance, float("inf"))
