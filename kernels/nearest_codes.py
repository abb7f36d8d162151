"""The first pass: scores of all codes on tensor cores, certified, and the doubtful rows listed.

docs/kernels.md derives the bound E: with rows and codes rounded to float16, |score - exact| <= E
for every code, so that the truth is among the codes within 2 E of the least score.  A row with one
such code is settled.  One with up to four of them is listed with those; the others are listed to
be compared with all codes.  ``recheck`` settles the list.

Scores never leave the registers.  Lane j of a row sees codes j, j + BLOCK_CODES, ...; it keeps its
least score and the next, with the block's number in the low mantissa bits of the score.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import BLOCK, CENTRE, DIM, FIELDS, INPUT, NORM, PACK_CODES, PACKED, PACKED_SIZE
from .pack_codes import RADII

__all__ = ["LISTED", "first_pass"]

# int32 per listed row: quantizer, row, number of candidates (0: all codes), four candidates, 0.
LISTED = tl.constexpr(8)
_CANDIDATES = tl.constexpr(4)
_FAR = tl.constexpr(3.0e38)
_NO_CODE = tl.constexpr(2147483647)
_PACK = tl.constexpr(PACK_CODES)


@triton.jit
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
    num_rows,
    num_quantizers,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    WIDTH: tl.constexpr,
    BITS: tl.constexpr,
    RADIUS_BLOCKS: tl.constexpr,
    ALIGNED: tl.constexpr,
    NVIDIA: tl.constexpr,
):
    """Program t does row tile ``tiles[t]`` of a quantizer whose packed rows are WIDTH wide.

    Args:
        x_ptr: float32, float16 or bfloat16 [num_rows, input_width], rows ``x_stride`` apart.
        indices_ptr: int64 [num_rows, Q]; listed rows get what the first pass thinks best.
        listed_ptr: int32, LISTED per row.
        counters_ptr: int32; the first one counts listed rows.
        BITS: at least log2 of the number of code blocks.
        RADIUS_BLOCKS: at least the packing blocks of a codebook, a power of two.
        ALIGNED: columns, strides and dims are multiples of 4.
    """
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
    usable = row_mask & (tl.max(tl.where(tl.abs(x) <= 3.4028234663852886e38, 0, 1), axis=1) == 0)
    x = tl.where(mask, (x - centre[None, :]) * scale, 0.0)
    rounded = x.to(tl.float16)
    back = rounded.to(tl.float32)
    lost = x - back
    length2 = tl.sum(back * back, axis=1)
    lost2 = tl.sum(lost * lost, axis=1)

    best = tl.full((BLOCK_ROWS, BLOCK_CODES), _FAR, tl.float32)
    second = tl.full((BLOCK_ROWS, BLOCK_CODES), _FAR, tl.float32)
    lane = tl.arange(0, BLOCK_CODES)
    # Packed codebooks are whole blocks: without the hints loads would not be 16 bytes wide.
    norm_ptrs = norms_ptr + tl.multiple_of(tl.load(entry + NORM), _PACK) + lane
    packed = tl.multiple_of(tl.load(entry + PACKED), _PACK)
    code_ptrs = packed_ptr + packed + (lane * WIDTH)[None, :] + d[:, None]
    for block in range(0, padded // BLOCK_CODES):
        codes = tl.load(code_ptrs)
        norms = tl.load(norm_ptrs)
        scores = tl.dot(rounded, codes) + norms[None, :]
        keys = _numbered(scores, block, BITS, NVIDIA)
        second = tl.minimum(second, tl.maximum(best, keys))
        best = tl.minimum(best, keys)
        code_ptrs += BLOCK_CODES * WIDTH
        norm_ptrs += BLOCK_CODES

    number = best.to(tl.int32, bitcast=True) & ((1 << BITS) - 1)
    code = number * BLOCK_CODES + lane[None, :]
    least = tl.min(best, axis=1)
    index = tl.min(tl.where(best == least[:, None], code, _NO_CODE), axis=1)
    index = tl.where(usable, index, 0)
    tl.store(
        indices_ptr + rows.to(tl.int64) * num_quantizers + q, index.to(tl.int64), mask=row_mask
    )

    first_block = tl.load(entry + BLOCK)
    blocks = tl.arange(0, RADIUS_BLOCKS)
    block_mask = blocks < padded // _PACK
    radius_ptrs = radii_ptr + (first_block + blocks) * RADII
    rounding = tl.max(tl.load(radius_ptrs, mask=block_mask, other=0.0), axis=0)
    longest = tl.max(tl.load(radius_ptrs + 1, mask=block_mask, other=0.0), axis=0)
    norm = tl.max(tl.load(radius_ptrs + 2, mask=block_mask, other=0.0), axis=0)
    length = tl.sqrt(length2) * 1.0001
    missing = tl.sqrt(lost2) * 1.0001 + length * 1.2e-7 + 1.0e-18
    reach = length + missing
    size = length * longest + norm
    error = reach * rounding + missing * longest
    error += size * ((WIDTH + 32) * 1.2e-7 + 2.0 ** (BITS - 22))
    error += (reach + longest) * (reach + longest) * ((WIDTH + 16) * 2.3e-16) + 1.0e-30
    limit = least + 2.0 * error
    near = best <= limit[:, None]
    candidates = tl.sum(near.to(tl.int32), axis=1)
    behind = tl.min(second, axis=1)
    settled = (candidates == 1) & (behind > limit)  # False where anything is NaN
    doubtful = usable & ~settled
    if tl.max(doubtful.to(tl.int32), axis=0) > 0:
        few = (candidates >= 1) & (candidates <= _CANDIDATES) & (behind > limit)
        place = tl.atomic_add(counters_ptr + tl.zeros((BLOCK_ROWS,), tl.int32), 1, mask=doubtful)
        out = listed_ptr + place.to(tl.int64) * LISTED
        tl.store(out, tl.zeros((BLOCK_ROWS,), tl.int32) + q, mask=doubtful)
        tl.store(out + 1, rows, mask=doubtful)
        tl.store(out + 2, tl.where(few, candidates, 0), mask=doubtful)
        for slot in tl.static_range(0, _CANDIDATES):
            found = tl.min(tl.where(near, code, _NO_CODE), axis=1)
            near = near & (code != found[:, None])
            tl.store(out + 3 + slot, found, mask=doubtful & few)


@triton.jit
def _numbered(scores, block, BITS: tl.constexpr, NVIDIA: tl.constexpr):
    """Scores whose lowest BITS mantissa bits are the block's number."""
    MASK: tl.constexpr = -(1 << BITS)
    if NVIDIA:
        # (score & mask) | number in one LOP3; sm_80 and sm_90 would take two instructions.
        return tl.inline_asm_elementwise(
            "lop3.b32 $0, $1, $2, $3, 0xEA;",
            "=r,r,r,r",
            [
                scores,
                tl.full(scores.shape, MASK, tl.int32),
                tl.full(scores.shape, 0, tl.int32) + block,
            ],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
    return ((scores.to(tl.int32, bitcast=True) & MASK) | block).to(tl.float32, bitcast=True)
