"""Codebooks as the first pass wants them: centred, scaled, doubled, in float16, with their norms.

For a quantizer with centre m and scale s, a power of two, code c becomes z = fp16(-2 s (c - m)) and
n = s^2 |c - m|^2, so that n + z . (s (x - m)) orders codes as the distance to x does.  A codebook
also gets the three radii from which the first pass bounds its own error.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .bank import (
    CENTRE,
    DIM,
    FIELDS,
    NORM,
    PACKED,
    PACKED_SIZE,
    SIZE,
    STRIDE,
    WEIGHT,
    WIDTH,
)

__all__ = ["RADII", "pack_codes"]

# Per codebook: rounding of z, length of z, length of n.
RADII = tl.constexpr(4)
# Larger than every score; padding codes are never nearest.
_FAR = tl.constexpr(3.0e38)
# The largest sampled component becomes 2^3 .. 2^4: far from overflow and from underflow.
_TOP = tl.constexpr(3)
_SAMPLES = tl.constexpr(16)


@triton.jit
def pack_codes(
    weight_ptr,
    table_ptr,
    tiles_ptr,
    packed_ptr,
    norms_ptr,
    radii_ptr,
    centres_ptr,
    scales_ptr,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Program t packs codes ``tiles[t]`` = (quantizer, first code) .. + BLOCK_CODES.

    Args:
        weight_ptr: flat [weight_size].
        packed_ptr: float16, rows of the quantizer's packed width.
        norms_ptr: float32, one per packed code.
        radii_ptr: int32 [Q, RADII], zero at first: the bits of float32.
        centres_ptr: float32, the quantizer's packed width each.
        scales_ptr: float32 [Q].
        BLOCK_DIM: at least every packed width.
    """
    tile = tl.program_id(0)
    q = tl.load(tiles_ptr + 2 * tile)
    first = tl.load(tiles_ptr + 2 * tile + 1)
    entry = table_ptr + q * FIELDS
    dim = tl.load(entry + DIM).to(tl.int32)
    size = tl.load(entry + SIZE).to(tl.int32)
    width = tl.load(entry + WIDTH).to(tl.int32)
    stride = tl.load(entry + STRIDE)
    codes_ptr = weight_ptr + tl.load(entry + WEIGHT)
    centre_ptr = centres_ptr + tl.load(entry + CENTRE)
    d = tl.arange(0, BLOCK_DIM)
    # The centre is the mean of a few codes, evenly spread; any vector is correct.
    samples = tl.minimum(size, _SAMPLES)
    draw = tl.arange(0, _SAMPLES)
    sampled = (draw * size // samples).to(tl.int64)
    sample_mask = (draw < samples)[:, None] & (d < dim)[None, :]
    sample_ptrs = codes_ptr + (sampled * stride)[:, None] + d[None, :]
    k = first + tl.arange(0, BLOCK_CODES)
    exists = k < size
    mask = exists[:, None] & (d < dim)[None, :]
    code_ptrs = codes_ptr + (k.to(tl.int64) * stride)[:, None] + d[None, :]
    drawn = tl.load(sample_ptrs, mask=sample_mask, other=0.0).to(tl.float32)
    code = tl.load(code_ptrs, mask=mask, other=0.0).to(tl.float64)
    mean = tl.sum(drawn, axis=0) / samples
    away = tl.where(sample_mask, tl.abs(drawn - mean[None, :]), 0.0)
    scale = _scale(tl.max(tl.max(away, axis=1), axis=0))
    if first == 0:
        tl.store(centre_ptr + d, mean, mask=d < width)
        tl.store(scales_ptr + q, scale)
    code = tl.where(mask, (code - mean.to(tl.float64)[None, :]) * scale.to(tl.float64), 0.0)
    packed = (-2.0 * code).to(tl.float32).to(tl.float16)
    out_ptrs = packed_ptr + tl.load(entry + PACKED) + k.to(tl.int64) * width
    tl.store(out_ptrs[:, None] + d[None, :], packed, mask=(d < width)[None, :])
    back = packed.to(tl.float64)
    lost = -2.0 * code - back
    norm = tl.sum(code * code, axis=1)
    rounding = tl.sum(lost * lost, axis=1)
    length = tl.sum(back * back, axis=1)
    padded = tl.load(entry + PACKED_SIZE).to(tl.int32)
    norms = tl.where(exists, norm.to(tl.float32), _FAR)
    tl.store(norms_ptr + tl.load(entry + NORM) + k, norms, mask=k < padded)
    radius_ptr = radii_ptr + q * RADII
    tl.atomic_max(radius_ptr, _above(tl.sqrt(tl.max(rounding, axis=0))), sem="relaxed")
    tl.atomic_max(radius_ptr + 1, _above(tl.sqrt(tl.max(length, axis=0))), sem="relaxed")
    tl.atomic_max(radius_ptr + 2, _above(tl.max(norm, axis=0)), sem="relaxed")


@triton.jit
def _scale(largest):
    """The power of two that brings ``largest`` to 2^3 .. 2^4; 1 for 0 and for NaN."""
    exponent = ((largest.to(tl.int32, bitcast=True) >> 23) & 255) - 127
    # The constant comes second: triton 3.8's interpreter cannot take a tensor from a constant.
    exponent = tl.minimum(tl.maximum(-exponent + _TOP, -100), 100)
    scale = ((exponent + 127) << 23).to(tl.float32, bitcast=True)
    return tl.where((largest > 0) & (largest < float("inf")), scale, 1.0)


@triton.jit
def _above(value):
    """The bits of a float32 not below a float64 value >= 0; those of a NaN are above all others."""
    above = (value * 1.0000002).to(tl.float32) + 1.0e-37
    return tl.where(above == above, above.to(tl.int32, bitcast=True), 2143289344)
