"""Settles the rows that the first pass listed, in float64; a fixed grid, so no host waits.

Distances are first added up in the order that is fastest.  Codes within twice the rounding error of
the least one are compared again in the order of the truth; without such codes there is nothing to
compare.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import DIM, FIELDS, INPUT, SIZE, STRIDE, WEIGHT
from .nearest_codes import LISTED

__all__ = ["recheck"]

_NO_CODE = tl.constexpr(2147483647)
# Each sum of D terms in any order is within (D + 4) 2^-53 of the exact one; four such errors meet.
_UNIT = tl.constexpr(4.5e-16)


@triton.jit
def recheck(
    x_ptr,
    x_stride,
    weight_ptr,
    table_ptr,
    indices_ptr,
    listed_ptr,
    counters_ptr,
    num_quantizers,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Every program takes each num_programs-th listed row; arguments as in ``first_pass``."""
    count = tl.load(counters_ptr).to(tl.int64)
    item = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, BLOCK_CODES)
    while item < count:
        item_ptr = listed_ptr + item * LISTED
        q = tl.load(item_ptr)
        row = tl.load(item_ptr + 1).to(tl.int64)
        candidates = tl.load(item_ptr + 2)
        entry = table_ptr + q * FIELDS
        dim = tl.load(entry + DIM).to(tl.int32)
        stride = tl.load(entry + STRIDE)
        row_ptr = x_ptr + row * x_stride + tl.load(entry + INPUT)
        codes_ptr = weight_ptr + tl.load(entry + WEIGHT)
        # Without candidates every code is one.
        size = tl.where(candidates > 0, candidates, tl.load(entry + SIZE).to(tl.int32))
        best = tl.full((BLOCK_CODES,), float("inf"), tl.float64)
        second = tl.full((BLOCK_CODES,), float("inf"), tl.float64)
        index = tl.full((BLOCK_CODES,), _NO_CODE, tl.int32)
        for first in range(0, size, BLOCK_CODES):
            exists = first + lane < size
            code = _codes(item_ptr, candidates, first + lane)
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
            for first in range(0, size, BLOCK_CODES):
                exists = first + lane < size
                code = _codes(item_ptr, candidates, first + lane)
                distance = _fast(row_ptr, codes_ptr, stride, code, exists, dim, BLOCK_DIM)
                near = exists & (distance <= limit) & (distance < float("inf"))
                if tl.sum(near.to(tl.int32), axis=0) > 0:
                    distance = _exact(row_ptr, codes_ptr, stride, code, near, dim)
                    closer = near & ((distance < best) | ((distance == best) & (code < index)))
                    best = tl.where(closer, distance, best)
                    index = tl.where(closer, code, index)
            chosen = tl.min(tl.where(best == tl.min(best, axis=0), index, _NO_CODE), axis=0)
        # Infinitely far from every code: the first one, as argmin has it.
        chosen = tl.where(chosen == _NO_CODE, 0, chosen)
        tl.store(indices_ptr + row * num_quantizers + q, chosen.to(tl.int64))
        item += tl.num_programs(0)


@triton.jit
def _codes(item_ptr, candidates, position):
    """The codes at these positions of the list, or the positions themselves."""
    listed = tl.load(item_ptr + 3 + position, mask=position < candidates, other=0)
    return tl.where(candidates > 0, listed, position)


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
