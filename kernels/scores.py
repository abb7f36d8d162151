"""Scores of a block of codes, and what is kept of them in one or two instructions."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["scores", "two_least"]


@triton.jit
def scores(
    code_ptrs,
    norm_ptrs,
    rows,
    more_rows,
    HALF: tl.constexpr,
    IN_HALVES: tl.constexpr,
    CODES_FIRST: tl.constexpr,
):
    """Norm of each code plus its product with each row, in halves of HALF dims if IN_HALVES."""
    codes = tl.load(code_ptrs)
    more_codes = codes
    if IN_HALVES:
        more_codes = tl.load(code_ptrs + HALF)
    norms = tl.load(norm_ptrs)
    if CODES_FIRST:
        found = tl.dot(codes, rows) + norms[:, None]
    else:
        found = tl.dot(rows, tl.trans(codes))
        if IN_HALVES:
            found = tl.dot(more_rows, tl.trans(more_codes), found)
        found += norms[None, :]
    return found


@triton.jit
def two_least(
    best,
    second,
    found,
    block,
    BITS: tl.constexpr,
    NVIDIA: tl.constexpr,
    LANES: tl.constexpr,
    PARTS: tl.constexpr,
):
    """The least score of each lane and the next, with those of one more block, numbered."""
    if PARTS == 1:
        best, second = _with_keys(best, second, _numbered(found, block, BITS, NVIDIA))
    else:
        one, two, three, four = _quarters(found, LANES)
        best, second = _with_keys(best, second, _numbered(one, 4 * block, BITS, NVIDIA))
        best, second = _with_keys(best, second, _numbered(two, 4 * block + 1, BITS, NVIDIA))
        best, second = _with_keys(best, second, _numbered(three, 4 * block + 2, BITS, NVIDIA))
        best, second = _with_keys(best, second, _numbered(four, 4 * block + 3, BITS, NVIDIA))
    return best, second


@triton.jit
def _quarters(found, LANES: tl.constexpr):
    """[rows, LANES] of each LANES codes, in order; no value moves between threads."""
    parts = tl.permute(tl.reshape(found, (found.shape[0], 2, 2, LANES)), (0, 3, 1, 2))
    even, odd = tl.split(parts)
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def _with_keys(best, second, keys):
    return tl.minimum(best, keys), tl.minimum(second, tl.maximum(best, keys))


@triton.jit
def _numbered(found, number, BITS: tl.constexpr, NVIDIA: tl.constexpr):
    """Scores whose lowest BITS mantissa bits are the number."""
    MASK: tl.constexpr = -(1 << BITS)
    if NVIDIA:
        # (score & mask) | number in one LOP3; sm_80 and sm_90 would take two instructions.
        return tl.inline_asm_elementwise(
            "lop3.b32 $0, $1, $2, $3, 0xEA;",
            "=r,r,r,r",
            [
                found,
                tl.full(found.shape, MASK, tl.int32),
                tl.full(found.shape, 0, tl.int32) + number,
            ],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
    return ((found.to(tl.int32, bitcast=True) & MASK) | number).to(tl.float32, bitcast=True)
