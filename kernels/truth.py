"""The float64 truth inside kernels: what every index must equal.

The squared distance is the sum over d, ascending, of ``(double(x_d) - double(c_d))^2``, each step
rounded on its own, so kernels that call these are launched with ``enable_fp_fusion=False``.  A
distance that is NaN counts as infinite; the lowest index wins ties.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["nearest_truth", "usable_rows"]

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
