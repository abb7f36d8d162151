"""The first pass: scores of all codes on tensor cores, certified, and the doubtful rows.

docs/kernels.md derives the bound E: with rows and codes rounded to float16, |score - exact| <= E
for every code, so that the truth is among the codes within 2 E of the least score.

Scores never leave the registers.  Lane j of a row sees codes j, j + LANES, ..., in groups of GROUP
blocks; it keeps its least group minimum and the next, with the group's number in the low mantissa
bits.  Groups make the bookkeeping cheap (four instructions per group, not per code); their price is
that the codes of the winning group are compared once more, by ``nearest_of_group``.

A row with one code (or group) within 2 E is settled so.  With PAIRS, one with two is settled by the
float32 differences to both.  Others are listed for ``recheck``: with up to eight codes, or with
the lanes in which two are within 2 E, or to be compared with all codes.
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
    STRIDE,
    WEIGHT,
)
from .doubtful_rows import list_rows, nearer_of_two
from .pack_codes import RADII
from .rounded_rows import FAR, error_bound, rounded_rows
from .row_tiles import row_tile
from .scores import scores, two_least
from .truth import usable_rows

__all__ = ["IN_GROUP", "first_pass"]

# The mark of a row whose code is in the group that begins with k is IN_GROUP - k.
IN_GROUP = tl.constexpr(-3)
_BLOCK = tl.constexpr(BLOCK_CODES)
# A code within the limit counts as _ONE, in the bits above all numbers of codes (MOST_CODES).
_SHIFT = tl.constexpr(20)
_ONE = tl.constexpr(1 << 20)


@triton.jit(do_not_specialize=SIZES)
def first_pass(
    x_ptr,
    x_stride,
    weight_ptr,
    table_ptr,
    members_ptr,
    num_members,
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
    LANES: tl.constexpr,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    BITS: tl.constexpr,
    ALIGNED: tl.constexpr,
    CODES_FIRST: tl.constexpr,
    IN_HALVES: tl.constexpr,
    PAIRS: tl.constexpr,
    NVIDIA: tl.constexpr,
):
    """A program does one ``row_tile`` of quantizers whose packed rows are WIDTH wide.

    Args:
        x_ptr: float32, float16 or bfloat16 [num_rows, input_width], rows ``x_stride`` apart.
        indices_ptr: int64 [num_rows, Q]: the code, or one of the marks.
        listed_ptr: int32 [2, capacity, LISTED].
        counters_ptr: int32 [2], rows for each list, also those beyond its capacity.
        LANES: BLOCK_CODES, or a quarter of it, which leaves less to reduce, for rows times codes
            and GROUP 1.
        BITS: at least log2 of the number of groups.
        ALIGNED: columns, strides and dims are multiples of 4.
        CODES_FIRST: products are codes times rows, which streams many codes faster; rows times
            codes keeps a row's scores in one warp, so that a tile ends sooner.
        IN_HALVES: rows and codes are taken by half their dims, for rows times codes.
        PAIRS: dims at a time of the comparison of two codes; 0 for none, as with GROUP over 1.
    """
    AXIS: tl.constexpr = 0 if CODES_FIRST else 1
    OTHER: tl.constexpr = 1 - AXIS
    # Wide rows are read in halves: all their values at once would take too many registers.
    HALF: tl.constexpr = WIDTH // 2 if IN_HALVES else WIDTH
    q, row0 = row_tile(members_ptr, num_members, BLOCK_ROWS)
    entry = table_ptr + q * FIELDS
    column = tl.load(entry + INPUT)
    dim = tl.load(entry + DIM).to(tl.int32)
    size = tl.load(entry + SIZE).to(tl.int32)
    padded = tl.load(entry + PACKED_SIZE).to(tl.int32)
    stride = tl.load(entry + STRIDE)
    weight_offset = tl.load(entry + WEIGHT)
    x_row = x_stride.to(tl.int64)
    if ALIGNED:
        column = tl.multiple_of(column, 4)
        x_row = tl.multiple_of(x_row, 4)
        dim = tl.multiple_of(dim, 4)
        stride = tl.multiple_of(stride, 4)
        weight_offset = tl.multiple_of(weight_offset, 4)
    centre_ptr = centres_ptr + tl.load(entry + CENTRE)
    scale = tl.load(scales_ptr + q)
    # Packed codebooks begin at whole blocks: without the hints loads would not be 16 bytes wide.
    lane = tl.arange(0, BLOCK_CODES)
    norm_ptrs = norms_ptr + tl.multiple_of(tl.load(entry + NORM), _BLOCK) + lane
    packed = tl.multiple_of(tl.load(entry + PACKED), _BLOCK)
    code_ptrs = packed_ptr + packed + (lane * WIDTH)[:, None] + tl.arange(0, HALF)[None, :]
    lanes = tl.expand_dims(tl.arange(0, LANES), OTHER)
    rows = row0 + tl.arange(0, BLOCK_ROWS)
    row_mask = rows < num_rows
    row_ptrs = x_ptr + rows.to(tl.int64) * x_row + column
    rounded, length2, lost2 = rounded_rows(row_ptrs, row_mask, centre_ptr, scale, 0, dim, HALF)
    more = rounded
    if IN_HALVES:
        more, more2, more_lost2 = rounded_rows(
            row_ptrs, row_mask, centre_ptr, scale, HALF, dim, HALF
        )
        length2 += more2
        lost2 += more_lost2
    if CODES_FIRST:
        # Codes times rows: the rows stay in shared memory, the codes stream through it.
        rounded = tl.trans(rounded)
    held, limit = _held(
        code_ptrs,
        norm_ptrs,
        rounded,
        more,
        2.0 * error_bound(length2, lost2, radii_ptr + q * RADII, WIDTH, BITS),
        padded,
        BLOCK_ROWS,
        BLOCK_CODES,
        LANES,
        GROUP,
        WIDTH,
        BITS,
        CODES_FIRST,
        IN_HALVES,
        NVIDIA,
    )
    # held: 0 where a lane has no near code, else the first's number plus _ONE, or 2 _ONE for more.
    held = tl.where(held > 0, held + lanes, 0)
    # total: of one near code, or two, the high bits say how many, for two numbers stay below _ONE;
    # of three or more they are at least 3.
    total = tl.sum(held, axis=AXIS)
    # A limit that is no number, or beyond all scores, settles nothing.
    bounded = limit < FAR
    settled = ((total >> _SHIFT) == 1) & bounded
    index = total & (_ONE - 1)
    answer = IN_GROUP - index if GROUP > 1 else index
    doubtful = row_mask & ~settled
    if PAIRS > 0:
        # lowest: _ONE + the lowest number - 1, if a lane has one code: more are above it, and lanes
        # with none, -1 without sign, above all.
        lowest = tl.min((held - 1).to(tl.uint32, bitcast=True), axis=AXIS)
        one = lowest.to(tl.int32, bitcast=True) + (1 - _ONE)
        # one: the lower number, and the rest of the sum the other; beyond it if a lane has both.
        other = index - one
        pair = doubtful & bounded & ((total >> _SHIFT) == 2) & (one < other) & (other < size)
        nearer, certain = nearer_of_two(
            row_ptrs,
            pair,
            weight_ptr + weight_offset,
            stride,
            tl.where(pair, one, 0),
            tl.where(pair, other, 0),
            dim,
            BLOCK_ROWS,
            PAIRS,
        )
        answer = tl.where(pair, nearer, answer)
        doubtful = doubtful & ~(pair & certain)
    if tl.max(doubtful.to(tl.int32), axis=0) > 0:
        # A row with a limit has finite values; others are read again.
        usable = row_mask
        if tl.max((row_mask & ~bounded).to(tl.int32), axis=0) > 0:
            usable = usable_rows(row_ptrs, row_mask, dim, BLOCK_ROWS, 16)
            answer = tl.where(usable, answer, 0)
        doubtful = doubtful & usable
        mark = list_rows(
            doubtful,
            held > 0,
            (held >> _SHIFT) == 1,
            held & (_ONE - 1),
            bounded,
            q,
            rows,
            listed_ptr,
            counters_ptr,
            capacity,
            size,
            padded,
            BLOCK_ROWS,
            LANES,
            GROUP,
            AXIS,
        )
        answer = tl.where(doubtful, mark, answer)
    index_ptrs = indices_ptr + rows.to(tl.int64) * num_quantizers + q
    tl.store(index_ptrs, answer.to(tl.int64), mask=row_mask)


@triton.jit
def _held(
    code_ptrs,
    norm_ptrs,
    rows,
    more_rows,
    twice_error,
    padded,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    LANES: tl.constexpr,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    BITS: tl.constexpr,
    CODES_FIRST: tl.constexpr,
    IN_HALVES: tl.constexpr,
    NVIDIA: tl.constexpr,
):
    """(int32 like scores: what each lane holds, the limit of each row), from each lane's two least.

    A lane holds 2^_SHIFT for each code (group) within the limit, two at most, plus the first one's
    number, less the lane.
    """
    AXIS: tl.constexpr = 0 if CODES_FIRST else 1
    HALF: tl.constexpr = WIDTH // 2 if IN_HALVES else WIDTH
    PARTS: tl.constexpr = BLOCK_CODES // LANES
    if CODES_FIRST:
        best = tl.full((BLOCK_CODES, BLOCK_ROWS), FAR, tl.float32)
    else:
        best = tl.full((BLOCK_ROWS, LANES), FAR, tl.float32)
    second = best
    for group in range(0, padded // (BLOCK_CODES * GROUP)):
        least = scores(code_ptrs, norm_ptrs, rows, more_rows, HALF, IN_HALVES, CODES_FIRST)
        for i in tl.static_range(1, GROUP):
            codes = code_ptrs + i * (BLOCK_CODES * WIDTH)
            norms = norm_ptrs + i * BLOCK_CODES
            now = scores(codes, norms, rows, more_rows, HALF, IN_HALVES, CODES_FIRST)
            least = tl.minimum(least, now)
        best, second = two_least(best, second, least, group, BITS, NVIDIA, LANES, PARTS)
        code_ptrs += BLOCK_CODES * GROUP * WIDTH
        norm_ptrs += BLOCK_CODES * GROUP
    limit = tl.min(best, axis=AXIS) + twice_error
    number = best.to(tl.int32, bitcast=True) & ((1 << BITS) - 1)
    near = best <= tl.expand_dims(limit, AXIS)
    crowded = second <= tl.expand_dims(limit, AXIS)
    held = tl.where(near, _ONE + number * (LANES * GROUP), 0)
    return held + tl.where(crowded, _ONE, 0), limit
