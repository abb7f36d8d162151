"""Scores of a block of codes, and what is kept of them in one or two instructions."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["halves", "numbered", "quarters", "scores", "two_least_parts"]


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
        found = tl.dot(codes, rows)
        if IN_HALVES:
            found = tl.dot(more_codes, more_rows, found)
        found += norms[:, None]
    else:
        found = tl.dot(rows, tl.trans(codes))
        if IN_HALVES:
            found = tl.dot(more_rows, tl.trans(more_codes), found)
        found += norms[None, :]
    return found


@triton.jit
def halves(found, LANES: tl.constexpr):
    """[rows, LANES] of the first and of the last codes; no value moves between threads."""
    return tl.split(tl.permute(tl.reshape(found, (found.shape[0], 2, LANES)), (0, 2, 1)))


@triton.jit
def quarters(found, LANES: tl.constexpr):
    """[rows, LANES] of each LANES codes, in order."""
    parts = tl.permute(tl.reshape(found, (found.shape[0], 2, 2, LANES)), (0, 3, 1, 2))
    even, odd = tl.split(parts)
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def two_least_parts(
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
        best, second = _two_least(best, second, numbered(found, block, BITS, NVIDIA))
    elif PARTS == 2:
        one, two = halves(found, LANES)
        best, second = _two_least(best, second, numbered(one, 2 * block, BITS, NVIDIA))
        best, second = _two_least(best, second, numbered(two, 2 * block + 1, BITS, NVIDIA))
    elif PARTS == 4:
        best, second = _of_quarters(best, second, found, 4 * block, BITS, NVIDIA, LANES)
    else:
        low, high = halves(found, 4 * LANES)
        best, second = _of_quarters(best, second, low, 8 * block, BITS, NVIDIA, LANES)
        best, second = _of_quarters(best, second, high, 8 * block + 4, BITS, NVIDIA, LANES)
    return best, second


@triton.jit
def _of_quarters(
    best, second, found, number, BITS: tl.constexpr, NVIDIA: tl.constexpr, LANES: tl.constexpr
):
    one, two, three, four = quarters(found, LANES)
    best, second = _two_least(best, second, numbered(one, number, BITS, NVIDIA))
    best, second = _two_least(best, second, numbered(two, number + 1, BITS, NVIDIA))
    best, second = _two_least(best, second, numbered(three, number + 2, BITS, NVIDIA))
    return _two_least(best, second, numbered(four, number + 3, BITS, NVIDIA))


@triton.jit
def _two_least(best, second, keys):
    return tl.minimum(best, keys), tl.minimum(second, tl.maximum(best, keys))


@triton.jit
def numbered(found, number, BITS: tl.constexpr, NVIDIA: tl.constexpr):
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
