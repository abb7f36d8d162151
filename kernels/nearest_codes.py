"""The first pass: scores of all codes on tensor cores, certified, and the doubtful rows listed.

docs/kernels.md derives the bound E: with rows and codes rounded to float16, |score - exact| <= E
for every code, so that the truth is among the codes within 2 E of the least score.

Scores never leave the registers.  Lane j of a row sees codes j, j + BLOCK_CODES, ..., in groups of
GROUP blocks; it keeps its least group minimum and the next, with the group's number in the low
mantissa bits.  Groups make the bookkeeping cheap (four instructions per group, not per code); their
price is that the codes of the winning group are compared once more, by ``nearest_of_group``.  A row
with one group within 2 E is settled so.  Others are listed: with up to eight groups, or with the
lanes in which two groups are within 2 E, or to be compared with all codes.  ``recheck`` settles
the list.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import (
    BLOCK_CODES,
    CENTRE,
    DIM,
    FIELDS,
    INPUT,
    NORM,
    PACKED,
    PACKED_SIZE,
    SIZE,
    SIZES,
)
from .pack_codes import RADII
from .truth import usable_rows

__all__ = ["IN_GROUP", "LISTED", "PENDING", "SHORT", "UNLISTED", "first_pass"]

# int32 per listed row: quantizer, row, repetitions * 16 + slots in use, step, slots.  It stands for
# the codes slot + i * step with i < repetitions.
SLOTS = tl.constexpr(8)
LISTED = tl.constexpr(12)
# Rows with at most so many codes to compare go to the first list, the others to the second.
SHORT = tl.constexpr(64)
# Indices on the way: a listed row, a row that found no place in its list, and IN_GROUP - k for a
# row whose code is in the group that begins with k.
PENDING = tl.constexpr(-1)
UNLISTED = tl.constexpr(-2)
IN_GROUP = tl.constexpr(-3)
_FAR = tl.constexpr(3.0e38)
_NO_CODE = tl.constexpr(2147483647)
_BLOCK = tl.constexpr(BLOCK_CODES)


@triton.jit(do_not_specialize=SIZES)
def first_pass(
    x_ptr,
    x_stride,
    table_ptr,
    tiles_ptr,
    packed_ptr,
    norms_ptr,
    radii_ptr,
    centres_ptr,
    scales_ptr,
    indices_ptr,
    listed_ptr,
    counters_ptr,
    capacity,
    num_rows,
    num_quantizers,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    BITS: tl.constexpr,
    ALIGNED: tl.constexpr,
    CODES_FIRST: tl.constexpr,
    NVIDIA: tl.constexpr,
):
    """Program t does row tile ``tiles[t]`` of a quantizer whose packed rows are WIDTH wide.

    Args:
        x_ptr: float32, float16 or bfloat16 [num_rows, input_width], rows ``x_stride`` apart.
        indices_ptr: int64 [num_rows, Q]: the code, or one of the marks above.
        listed_ptr: int32 [2, capacity, LISTED].
        counters_ptr: int32 [2], rows for each list, also those beyond its capacity.
        BITS: at least log2 of the number of groups.
        ALIGNED: columns, strides and dims are multiples of 4.
        CODES_FIRST: products are codes times rows, which streams many codes faster; rows times
            codes keeps a row's scores in one warp, so that a tile ends sooner.
    """
    AXIS: tl.constexpr = 0 if CODES_FIRST else 1
    OTHER: tl.constexpr = 1 - AXIS
    tile = tl.program_id(0)
    q = tl.load(tiles_ptr + 2 * tile)
    row0 = tl.load(tiles_ptr + 2 * tile + 1)
    entry = table_ptr + q * FIELDS
    column = tl.load(entry + INPUT)
    dim = tl.load(entry + DIM).to(tl.int32)
    padded = tl.load(entry + PACKED_SIZE).to(tl.int32)
    stride = x_stride.to(tl.int64)
    if ALIGNED:
        column = tl.multiple_of(column, 4)
        stride = tl.multiple_of(stride, 4)
        dim = tl.multiple_of(dim, 4)
    rows = row0 + tl.arange(0, BLOCK_ROWS)
    row_mask = rows < num_rows
    row_ptrs = x_ptr + rows.to(tl.int64) * stride + column
    d = tl.arange(0, WIDTH)
    mask = row_mask[:, None] & (d < dim)[None, :]
    x = tl.load(row_ptrs[:, None] + d[None, :], mask=mask, other=0.0).to(tl.float32)
    centre = tl.load(centres_ptr + tl.load(entry + CENTRE) + d)
    scale = tl.load(scales_ptr + q)
    scaled = tl.where(mask, (x - centre[None, :]) * scale, 0.0)
    rounded = scaled.to(tl.float16)
    back = rounded.to(tl.float32)
    lost = scaled - back
    length2 = tl.sum(back * back, axis=1)
    lost2 = tl.sum(lost * lost, axis=1)
    usable = row_mask
    # A row with a finite length has finite values; others are read again, for registers are few.
    if tl.max(tl.where(length2 <= _FAR, 0, 1), axis=0) > 0:
        usable = usable_rows(row_ptrs, row_mask, dim, BLOCK_ROWS, 16)

    if CODES_FIRST:
        best = tl.full((BLOCK_CODES, BLOCK_ROWS), _FAR, tl.float32)
        # Codes times rows: the rows stay in shared memory, the codes stream through it.
        fixed = tl.trans(rounded)
    else:
        best = tl.full((BLOCK_ROWS, BLOCK_CODES), _FAR, tl.float32)
        fixed = rounded
    second = best
    lane = tl.arange(0, BLOCK_CODES)
    # Packed codebooks begin at whole blocks: without the hints loads would not be 16 bytes wide.
    norm_ptrs = norms_ptr + tl.multiple_of(tl.load(entry + NORM), _BLOCK) + lane
    packed = tl.multiple_of(tl.load(entry + PACKED), _BLOCK)
    code_ptrs = packed_ptr + packed + (lane * WIDTH)[:, None] + d[None, :]
    for group in range(0, padded // (BLOCK_CODES * GROUP)):
        keys = _scores(code_ptrs, norm_ptrs, fixed, CODES_FIRST)
        for i in tl.static_range(1, GROUP):
            others = code_ptrs + i * (BLOCK_CODES * WIDTH)
            norms = norm_ptrs + i * BLOCK_CODES
            keys = tl.minimum(keys, _scores(others, norms, fixed, CODES_FIRST))
        keys = _numbered(keys, group, BITS, NVIDIA)
        second = tl.minimum(second, tl.maximum(best, keys))
        best = tl.minimum(best, keys)
        code_ptrs += BLOCK_CODES * GROUP * WIDTH
        norm_ptrs += BLOCK_CODES * GROUP

    number = best.to(tl.int32, bitcast=True) & ((1 << BITS) - 1)
    lanes_of = tl.expand_dims(lane, OTHER)
    code = number * (BLOCK_CODES * GROUP) + lanes_of
    least = tl.min(best, axis=AXIS)
    index = tl.min(tl.where(best == tl.expand_dims(least, AXIS), code, _NO_CODE), axis=AXIS)

    radius_ptr = radii_ptr + q * RADII
    rounding = tl.load(radius_ptr).to(tl.float32, bitcast=True)
    longest = tl.load(radius_ptr + 1).to(tl.float32, bitcast=True)
    norm = tl.load(radius_ptr + 2).to(tl.float32, bitcast=True)
    length = tl.sqrt(length2) * 1.0001
    missing = tl.sqrt(lost2) * 1.0001 + length * 1.2e-7 + 1.0e-18
    reach = length + missing
    size = length * longest + norm
    error = reach * rounding + missing * longest
    error += size * ((WIDTH + 32) * 1.2e-7 + 2.0 ** (BITS - 22))
    error += (reach + longest) * (reach + longest) * ((WIDTH + 16) * 2.3e-16) + 1.0e-30
    limit = least + 2.0 * error
    near = best <= tl.expand_dims(limit, AXIS)
    # Lanes with a group within the limit, and lanes with two: counted in one sum.
    crowded = second <= tl.expand_dims(limit, AXIS)
    counted = tl.sum(near.to(tl.int32) + (crowded.to(tl.int32) << 16), axis=AXIS)
    settled = counted == 1  # False where anything is NaN
    doubtful = usable & ~settled
    answer = tl.where(usable, IN_GROUP - index if GROUP > 1 else index, 0)
    if tl.max(doubtful.to(tl.int32), axis=0) > 0:
        lanes = counted & 65535
        listable = (lanes >= 1) & (lanes <= SLOTS) & (limit < _FAR)
        few = listable & (counted < 65536)
        slots = tl.where(listable, lanes, 1)
        num_codes = tl.load(entry + SIZE).to(tl.int32)
        repeats = tl.where(few, GROUP, tl.where(listable, padded // BLOCK_CODES, num_codes))
        # Short work goes to the first list, the rest to the second.
        which = (slots * repeats > SHORT).to(tl.int32)
        place = tl.atomic_add(counters_ptr + which, 1, mask=doubtful)
        fits = doubtful & (place < capacity)
        out = listed_ptr + (which * capacity + place).to(tl.int64) * LISTED
        tl.store(out, tl.zeros((BLOCK_ROWS,), tl.int32) + q, mask=fits)
        tl.store(out + 1, rows, mask=fits)
        tl.store(out + 2, repeats * 16 + slots, mask=fits)
        tl.store(out + 3, tl.where(listable, BLOCK_CODES, 1), mask=fits)
        most = tl.max(tl.where(doubtful, slots, 0), axis=0)
        for slot in range(0, most):
            # The nearest code was found already; others follow in order.
            found = tl.where(few, index, tl.where(listable, index % BLOCK_CODES, 0))
            tl.store(out + 4 + slot, found, mask=fits & (slot < slots))
            near = near & (code != tl.expand_dims(index, AXIS))
            index = tl.min(tl.where(near, code, _NO_CODE), axis=AXIS)
        answer = tl.where(doubtful, tl.where(fits, PENDING, UNLISTED), answer)
    tl.store(
        indices_ptr + rows.to(tl.int64) * num_quantizers + q, answer.to(tl.int64), mask=row_mask
    )


@triton.jit
def _scores(code_ptrs, norm_ptrs, rows, CODES_FIRST: tl.constexpr):
    """Norm of each code plus its product with each row."""
    codes = tl.load(code_ptrs)
    norms = tl.load(norm_ptrs)
    if CODES_FIRST:
        scores = tl.dot(codes, rows) + norms[:, None]
    else:
        scores = tl.dot(rows, tl.trans(codes)) + norms[None, :]
    return scores


@triton.jit
def _numbered(scores, number, BITS: tl.constexpr, NVIDIA: tl.constexpr):
    """Scores whose lowest BITS mantissa bits are the number."""
    MASK: tl.constexpr = -(1 << BITS)
    if NVIDIA:
        # (score & mask) | number in one LOP3; sm_80 and sm_90 would take two instructions.
        return tl.inline_asm_elementwise(
            "lop3.b32 $0, $1, $2, $3, 0xEA;",
            "=r,r,r,r",
            [
                scores,
                tl.full(scores.shape, MASK, tl.int32),
                tl.full(scores.shape, 0, tl.int32) + number,
            ],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
    return ((scores.to(tl.int32, bitcast=True) & MASK) | number).to(tl.float32, bitcast=True)
