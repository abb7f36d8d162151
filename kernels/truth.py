"""The float64 truth inside kernels: what every index must equal.

The squared distance is the sum over d, ascending, of ``(double(x_d) - double(c_d))^2``, each step
rounded on its own, so kernels that call these are launched with ``enable_fp_fusion=False``.  A
distance that is NaN counts as infinite; the lowest index wins ties.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["nearest_directly", "nearest_truth", "usable_rows"]

_MOST = tl.constexpr(3.4028234663852886e38)
_NO_CODE = tl.constexpr(2147483647)


@triton.jit
def usable_rows(row_ptrs, row_mask, dim, BLOCK_ROWS: tl.constexpr, BLOCK_DIM: tl.constexpr):
    """bool [BLOCK_ROWS]: every value of the row's ``dim`` columns is finite as float32."""
    column = tl.arange(0, BLOCK_DIM)
    damaged = tl.zeros((BLOCK_ROWS,), tl.int32)
    for first in range(0, dim, BLOCK_DIM):
        d = first + column
        mask = row_mask[:, None] & (d < dim)[None, :]
        values = tl.load(row_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
        finite = tl.abs(values) <= _MOST  # False for NaN
        damaged = tl.maximum(damaged, tl.max(tl.where(finite, 0, 1), axis=1))
    return row_mask & (damaged == 0)


@triton.jit
def nearest_directly(
    row_ptrs,
    row_mask,
    codes_ptr,
    stride,
    size,
    dim,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """(int32 index, bool usable) of each row: float32 differences, squared and added, certified.

    A computed distance T has a relative error of at most (D + 3) 2^-24, whatever the offset of
    the data, so a second best beyond ``T (1 + 2.2 (D + 4) 2^-24)`` settles the row.  Other rows,
    and rows with anything non-finite, are compared again as the truth does.
    """
    best = tl.full((BLOCK_ROWS,), float("inf"), tl.float32)
    second = tl.full((BLOCK_ROWS,), float("inf"), tl.float32)
    index = tl.zeros((BLOCK_ROWS,), tl.int32)
    lane = tl.arange(0, BLOCK_CODES)
    for first in range(0, size, BLOCK_CODES):
        k = first + lane
        exists = k < size
        code_ptrs = codes_ptr + k.to(tl.int64) * stride
        distance = tl.zeros((BLOCK_ROWS, BLOCK_CODES), tl.float32)
        for d in tl.range(0, dim, 1, loop_unroll_factor=4):
            x = tl.load(row_ptrs + d, mask=row_mask, other=0.0).to(tl.float32)
            c = tl.load(code_ptrs + d, mask=exists, other=0.0).to(tl.float32)
            difference = x[:, None] - c[None, :]
            distance = tl.fma(difference, difference, distance)
        distance = tl.where(exists[None, :], distance, float("inf"))
        least = tl.min(distance, axis=1)
        here = tl.min(tl.where(distance == least[:, None], k[None, :], _NO_CODE), axis=1)
        behind = tl.min(tl.where(k[None, :] == here[:, None], float("inf"), distance), axis=1)
        second = tl.minimum(tl.minimum(second, behind), tl.maximum(best, least))
        index = tl.where(least < best, here, index)
        best = tl.minimum(best, least)
    # The last term covers underflow of any square.
    settled = second > best * (1.0 + (dim + 4) * 1.32e-7) + 1.0e-33
    # NaN distances win no minimum, as in the truth; where no others are, or squares overflow, best
    # is not below this: rows that are not finite, among others.
    settled = settled & (best < 1.0e37)
    usable = row_mask
    open_rows = row_mask & ~settled
    if tl.max(open_rows.to(tl.int32), axis=0) > 0:
        usable = usable_rows(row_ptrs, row_mask, dim, BLOCK_ROWS, BLOCK_DIM)
        again = open_rows & usable
        exact = nearest_truth(
            row_ptrs, again, codes_ptr, stride, size, dim, BLOCK_ROWS, BLOCK_CODES
        )
        index = tl.where(again, exact, index)
    return tl.where(usable, index, 0), usable


@triton.jit
def nearest_truth(
    row_ptrs,
    row_mask,
    codes_ptr,
    stride,
    size,
    dim,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
):
    """int32 [BLOCK_ROWS]: the nearest of ``size`` codes for each row; 0 where masked.

    Args:
        row_ptrs: [BLOCK_ROWS], each row's first column.
        row_mask: rows to look at.
        codes_ptr: the codebook's first element; code k begins at ``k * stride``.
    """
    best = tl.full((BLOCK_ROWS,), float("inf"), tl.float64)
    index = tl.zeros((BLOCK_ROWS,), tl.int32)
    lane = tl.arange(0, BLOCK_CODES)
    for first in range(0, size, BLOCK_CODES):
        k = first + lane
        code_ptrs = codes_ptr + k.to(tl.int64) * stride
        distance = tl.zeros((BLOCK_ROWS, BLOCK_CODES), tl.float64)
        for d in tl.range(0, dim, 1, loop_unroll_factor=4):
            x = tl.load(row_ptrs + d, mask=row_mask, other=0.0).to(tl.float64)
            c = tl.load(code_ptrs + d, mask=k < size, other=0.0).to(tl.float64)
            difference = x[:, None] - c[None, :]
            distance += difference * difference
        comparable = (distance < float("inf")) & (k < size)[None, :]
        distance = tl.where(comparable, distance, float("inf"))
        least = tl.min(distance, axis=1)
        here = tl.min(tl.where(distance == least[:, None], k[None, :], _NO_CODE), axis=1)
        closer = least < best
        best = tl.where(closer, least, best)
        index = tl.where(closer, here, index)
    return index
