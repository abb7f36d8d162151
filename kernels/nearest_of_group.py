"""Which code of the group that the first pass found: float32 differences, certified."""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import DIM, FIELDS, INPUT, SIZE, SIZES, STRIDE, WEIGHT
from .doubtful_rows import LISTED, PENDING, UNLISTED
from .nearest_codes import IN_GROUP
from .row_tiles import row_tile

__all__ = ["nearest_of_group"]

_NO_CODE = tl.constexpr(2147483647)


@triton.jit(do_not_specialize=SIZES)
def nearest_of_group(
    x_ptr,
    x_stride,
    weight_ptr,
    table_ptr,
    members_ptr,
    num_members,
    indices_ptr,
    listed_ptr,
    counters_ptr,
    capacity,
    num_rows,
    num_quantizers,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    GROUP: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """In one ``row_tile`` IN_GROUP - k becomes the nearest of k + i BLOCK_CODES.

    Rows with two codes as near as float32 can tell go to the first list.  Arguments as in
    ``first_pass``.
    """
    q, row0 = row_tile(members_ptr, num_members, BLOCK_ROWS)
    entry = table_ptr + q * FIELDS
    dim = tl.load(entry + DIM).to(tl.int32)
    size = tl.load(entry + SIZE).to(tl.int32)
    stride = tl.load(entry + STRIDE)
    column = tl.load(entry + INPUT)
    weight_offset = tl.load(entry + WEIGHT)
    x_row = x_stride.to(tl.int64)
    if ALIGNED:
        column = tl.multiple_of(column, 4)
        stride = tl.multiple_of(stride, 4)
        weight_offset = tl.multiple_of(weight_offset, 4)
        x_row = tl.multiple_of(x_row, 4)
        dim = tl.multiple_of(dim, 4)
    rows = row0 + tl.arange(0, BLOCK_ROWS)
    row_ptrs = x_ptr + rows.to(tl.int64) * x_row + column
    index_ptrs = indices_ptr + rows.to(tl.int64) * num_quantizers + q
    mark = tl.load(index_ptrs, mask=rows < num_rows, other=0).to(tl.int32)
    wanted = mark <= IN_GROUP
    first = IN_GROUP - mark
    code = first[:, None] + (tl.arange(0, GROUP) * BLOCK_CODES)[None, :]
    exists = wanted[:, None] & (code < size)
    code_ptrs = weight_ptr + weight_offset + code.to(tl.int64) * stride
    distance = tl.zeros((BLOCK_ROWS, GROUP), tl.float32)
    for d0 in range(0, dim, BLOCK_DIM):
        d = d0 + tl.arange(0, BLOCK_DIM)
        inside = d < dim
        x = tl.load(row_ptrs[:, None] + d, mask=wanted[:, None] & inside[None, :], other=0.0)
        here = exists[:, :, None] & inside[None, None, :]
        c = tl.load(code_ptrs[:, :, None] + d[None, None, :], mask=here, other=0.0)
        difference = tl.where(here, x.to(tl.float32)[:, None, :] - c.to(tl.float32), 0.0)
        distance += tl.sum(difference * difference, axis=2)
    distance = tl.where(exists, distance, float("inf"))
    least = tl.min(distance, axis=1)
    nearest = tl.min(tl.where(distance == least[:, None], code, _NO_CODE), axis=1)
    # As in nearest_directly: a relative error of (D + 3) 2^-24, and underflow.
    limit = least * (1.0 + (dim + 4) * 1.32e-7) + 1.0e-33
    rivals = tl.sum((distance <= limit[:, None]).to(tl.int32), axis=1)
    settled = (rivals == 1) & (least < 1.0e37)
    open_rows = wanted & ~settled
    if tl.max(open_rows.to(tl.int32), axis=0) > 0:
        place = tl.atomic_add(counters_ptr + tl.zeros_like(rows), 1, mask=open_rows)
        fits = open_rows & (place < capacity)
        out = listed_ptr + place.to(tl.int64) * LISTED
        tl.store(out, tl.zeros_like(rows) + q, mask=fits)
        tl.store(out + 1, rows, mask=fits)
        tl.store(out + 2, tl.zeros_like(rows) + (GROUP * 16 + 1), mask=fits)
        tl.store(out + 3, tl.zeros_like(rows) + BLOCK_CODES, mask=fits)
        tl.store(out + 4, first, mask=fits)
        nearest = tl.where(open_rows, tl.where(fits, PENDING, UNLISTED), nearest)
    tl.store(index_ptrs, nearest.to(tl.int64), mask=wanted)
