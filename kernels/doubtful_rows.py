"""What the first pass does with rows that it cannot settle: pairs are compared, others listed."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["LISTED", "PENDING", "SHORT", "SLOTS", "UNLISTED", "list_rows", "nearer_of_two"]

# int32 per listed row: quantizer, row, repetitions * 16 + slots in use, step, slots.  It stands for
# the codes slot + i * step with i < repetitions.
SLOTS = tl.constexpr(8)
LISTED = tl.constexpr(12)
# Rows with at most so many codes to compare go to the first list, the others to the second.
SHORT = tl.constexpr(64)
# Indices on the way: a listed row, and a row that found no place in its list.
PENDING = tl.constexpr(-1)
UNLISTED = tl.constexpr(-2)
_NO_CODE = tl.constexpr(2147483647)


@triton.jit
def nearer_of_two(
    row_ptrs,
    wanted,
    codes_ptr,
    stride,
    one,
    other,
    dim,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """(the nearer of two codes, whether that is certain) for wanted rows, by float32 differences.

    As in ``nearest_directly`` a distance has a relative error of at most (D + 3) 2^-24.
    """
    column = tl.arange(0, BLOCK_DIM)
    first = codes_ptr + one.to(tl.int64) * stride
    second = codes_ptr + other.to(tl.int64) * stride
    to_first = tl.zeros((BLOCK_ROWS,), tl.float32)
    to_second = tl.zeros((BLOCK_ROWS,), tl.float32)
    for start in range(0, dim, BLOCK_DIM):
        d = start + column
        mask = wanted[:, None] & (d < dim)[None, :]
        x = tl.load(row_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
        a = tl.load(first[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
        b = tl.load(second[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
        to_first += tl.sum((x - a) * (x - a), axis=1)
        to_second += tl.sum((x - b) * (x - b), axis=1)
    near = tl.minimum(to_first, to_second)
    far = tl.maximum(to_first, to_second)
    # The last term covers underflow of any square; False where anything is NaN.
    certain = (far > near * (1.0 + (dim + 4) * 1.32e-7) + 1.0e-33) & (near < 1.0e37)
    return tl.where(to_first < to_second, one, other), certain


@triton.jit
def list_rows(
    doubtful,
    near,
    alone,
    code,
    listable,
    q,
    rows,
    listed_ptr,
    counters_ptr,
    capacity,
    size,
    padded,
    BLOCK_ROWS: tl.constexpr,
    LANES: tl.constexpr,
    GROUP: tl.constexpr,
    AXIS: tl.constexpr,
):
    """The mark of each doubtful row, once it is listed with its candidates.

    Args:
        near: which lanes of a row hold a candidate; lanes lie along AXIS.
        alone: which of them hold just one group of codes, whose first code is ``code``; a row with
            other lanes is compared with all codes of its lanes.
        listable: rows whose limit means something; others are compared with all codes.
    """
    lane = tl.expand_dims(tl.arange(0, LANES), 1 - AXIS)
    lanes = tl.sum(near.to(tl.int32), axis=AXIS)
    shared = tl.sum((near & ~alone).to(tl.int32), axis=AXIS)
    listable = listable & (lanes >= 1) & (lanes <= SLOTS)
    few = listable & (shared == 0)
    slots = tl.where(listable, lanes, 1)
    repeats = tl.where(few, GROUP, tl.where(listable, padded // LANES, size))
    # Short work goes to the first list, the rest to the second.
    which = (slots * repeats > SHORT).to(tl.int32)
    place = tl.atomic_add(counters_ptr + which, 1, mask=doubtful)
    fits = doubtful & (place < capacity)
    out = listed_ptr + (which * capacity + place).to(tl.int64) * LISTED
    tl.store(out, tl.zeros((BLOCK_ROWS,), tl.int32) + q, mask=fits)
    tl.store(out + 1, rows, mask=fits)
    tl.store(out + 2, repeats * 16 + slots, mask=fits)
    tl.store(out + 3, tl.where(listable, LANES, 1), mask=fits)
    left = tl.where(near, tl.where(tl.expand_dims(few, AXIS), code, lane), _NO_CODE)
    most = tl.max(tl.where(doubtful, slots, 0), axis=0)
    for slot in range(0, most):
        found = tl.min(left, axis=AXIS)
        tl.store(out + 4 + slot, tl.where(listable, found, 0), mask=fits & (slot < slots))
        left = tl.where(left == tl.expand_dims(found, AXIS), _NO_CODE, left)
    return tl.where(fits, PENDING, UNLISTED)
