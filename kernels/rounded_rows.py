"""Rows of a tile as the first pass wants them: centred, scaled, in float16, and what that costs."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["FAR", "error_bound", "rounded_rows"]

# Above all scores.
FAR = tl.constexpr(3.0e38)


@triton.jit
def rounded_rows(
    row_ptrs,
    row_mask,
    centre_ptr,
    scale,
    first,
    dim,
    WIDTH: tl.constexpr,
):
    """(float16 [BLOCK_ROWS, WIDTH], |it|^2, |what rounding lost|^2) of dims ``first`` to dim.

    Args:
        row_ptrs: [BLOCK_ROWS], each row's first column.
        row_mask: rows that there are.
        centre_ptr: float32 [dim].
        scale: a power of two.
    """
    d = first + tl.arange(0, WIDTH)
    mask = row_mask[:, None] & (d < dim)[None, :]
    x = tl.load(row_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
    centre = tl.load(centre_ptr + d)
    scaled = tl.where(mask, (x - centre[None, :]) * scale, 0.0)
    rounded = scaled.to(tl.float16)
    back = rounded.to(tl.float32)
    lost = scaled - back
    length2 = tl.sum(back * back, axis=1)
    lost2 = tl.sum(lost * lost, axis=1)
    return rounded, length2, lost2


@triton.jit
def error_bound(length2, lost2, radius_ptr, WIDTH: tl.constexpr, BITS: tl.constexpr):
    """E of docs/kernels.md for each row; BITS: mantissa bits that hold a group's number."""
    rounding = tl.load(radius_ptr).to(tl.float32, bitcast=True)
    longest = tl.load(radius_ptr + 1).to(tl.float32, bitcast=True)
    norm = tl.load(radius_ptr + 2).to(tl.float32, bitcast=True)
    length = tl.sqrt(length2) * 1.0001
    missing = tl.sqrt(lost2) * 1.0001 + length * 1.2e-7 + 1.0e-18
    reach = length + missing
    size = length * longest + norm
    error = reach * rounding + missing * longest
    error += size * ((WIDTH + 32) * 1.2e-7 + 2.0 ** (BITS - 22))
    return error + (reach + longest) * (reach + longest) * ((WIDTH + 16) * 2.3e-16) + 1.0e-30
