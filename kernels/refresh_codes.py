"""From a step's partial statistics to new codes: added up in order, averaged, smoothed, divided.

N <- decay N + (1 - decay) n, m <- decay m + (1 - decay) s, c = m / N' with Laplace's
N' = (N + epsilon) / (sum N + K epsilon) sum N, which is not written back (van den Oord et al. 2017,
appendix A.1).  A quantizer without a row in the step keeps its state.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .accumulate_codes import fixed_exponent, power_of_two
from .bank import CODE, DIM, FIELDS, SIZE, STRIDE, WEIGHT

__all__ = ["refresh_codes"]

_ERRORS = tl.constexpr(256)


@triton.jit
def refresh_codes(
    table_ptr,
    tiles_ptr,
    counts_ptr,
    sums_ptr,
    peaks_ptr,
    errors_ptr,
    old_counts_ptr,
    ema_counts_ptr,
    ema_sums_ptr,
    weight_ptr,
    step_counts_ptr,
    step_sums_ptr,
    losses_ptr,
    epoch_counts_ptr,
    epoch_skipped_ptr,
    num_rows,
    num_slabs,
    num_error_slabs,
    num_quantizers,
    total_codes,
    weight_size,
    decay,
    epsilon,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    LOG_ROWS: tl.constexpr,
    FIXED_POINT: tl.constexpr,
    LOSSES: tl.constexpr,
    SUMS: tl.constexpr,
    EMA: tl.constexpr,
    CODES: tl.constexpr,
    EPOCH: tl.constexpr,
):
    """Program t does codes ``tiles[t]`` = (quantizer, first code) .. + BLOCK_CODES.

    Args:
        counts_ptr: float32 or int32 [num_slabs, total_codes], rows per code of each slab.
        sums_ptr: float32 [num_slabs, weight_size]; int64 [weight_size] if FIXED_POINT, in the
            units of ``accumulate_codes``.
        peaks_ptr: int32 [total_codes] of ``gather_codes``, if FIXED_POINT.
        errors_ptr: float32 [num_error_slabs, Q], if LOSSES.
        old_counts_ptr: float32 [total_codes], the moving counts before the step, if EMA.
        step_counts_ptr: float32 [total_codes], written always.
        step_sums_ptr: float32 [weight_size], written if SUMS.
        losses_ptr: float32 [Q], mean squared error over usable rows and dims, written if LOSSES.
        ema_counts_ptr, ema_sums_ptr, weight_ptr: the state, changed in place if EMA; sums and codes
            only if CODES.
        epoch_counts_ptr, epoch_skipped_ptr: int64 [total_codes] and [Q], added to if EPOCH.
    """
    tile = tl.program_id(0)
    q = tl.load(tiles_ptr + 2 * tile)
    first = tl.load(tiles_ptr + 2 * tile + 1)
    entry = table_ptr + q * FIELDS
    size = tl.load(entry + SIZE).to(tl.int32)
    stride = tl.load(entry + STRIDE)
    weight_offset = tl.load(entry + WEIGHT)
    code_offset = tl.load(entry + CODE)
    lane = tl.arange(0, BLOCK_CODES)
    # Every program adds up the whole codebook's counts: the smoothing needs their sum.
    rows = 0.0
    total = 0.0
    for k0 in range(0, size, BLOCK_CODES):
        k = k0 + lane
        exists = k < size
        count = tl.zeros((BLOCK_CODES,), tl.float32)
        for slab in range(0, num_slabs):
            slab_ptr = counts_ptr + slab * total_codes + code_offset
            count += tl.load(slab_ptr + k, mask=exists, other=0).to(tl.float32)
        rows += tl.sum(count, axis=0)
        if EMA:
            old = tl.load(old_counts_ptr + code_offset + k, mask=exists, other=0.0)
            total += tl.sum(old + (1.0 - decay) * (count - old), axis=0)
    k = first + lane
    exists = k < size
    ids = code_offset + k
    count = tl.zeros((BLOCK_CODES,), tl.float32)
    for slab in range(0, num_slabs):
        slab_ptr = counts_ptr + slab * total_codes + ids
        count += tl.load(slab_ptr, mask=exists, other=0).to(tl.float32)
    tl.store(step_counts_ptr + ids, count, mask=exists)
    if LOSSES:
        if first == 0:
            dim = tl.load(entry + DIM).to(tl.float32)
            error = tl.zeros((_ERRORS,), tl.float64)
            for slab in range(0, num_error_slabs, _ERRORS):
                slabs = slab + tl.arange(0, _ERRORS)
                slab_ptrs = errors_ptr + slabs.to(tl.int64) * num_quantizers + q
                error += tl.load(slab_ptrs, mask=slabs < num_error_slabs, other=0.0).to(tl.float64)
            values = tl.maximum(rows * dim, 1.0).to(tl.float64)
            tl.store(losses_ptr + q, (tl.sum(error, axis=0) / values).to(tl.float32))
    if EPOCH:
        seen = tl.load(epoch_counts_ptr + ids, mask=exists, other=0)
        tl.store(epoch_counts_ptr + ids, seen + count.to(tl.int64), mask=exists)
        if first == 0:
            skipped = tl.load(epoch_skipped_ptr + q)
            tl.store(epoch_skipped_ptr + q, skipped + num_rows - rows.to(tl.int64))
    smoothed = count
    if EMA:
        if rows > 0:
            old = tl.load(old_counts_ptr + ids, mask=exists, other=0.0)
            moved = old + (1.0 - decay) * (count - old)
            tl.store(ema_counts_ptr + ids, moved, mask=exists)
            smoothed = (moved + epsilon) * (total / (total + size * epsilon))
    if SUMS or CODES:
        base = weight_offset + k.to(tl.int64) * stride
        for d0 in range(0, stride, BLOCK_DIM):
            d = d0 + tl.arange(0, BLOCK_DIM)
            mask = exists[:, None] & (d < stride)[None, :]
            at = base[:, None] + d[None, :]
            if FIXED_POINT:
                peak = tl.load(peaks_ptr + ids, mask=exists, other=0)
                unit = power_of_two(-fixed_exponent(peak, LOG_ROWS))
                units = tl.load(sums_ptr + at, mask=mask, other=0).to(tl.float64)
                part = (units * unit[:, None]).to(tl.float32)
            else:
                part = tl.zeros((BLOCK_CODES, BLOCK_DIM), tl.float32)
                for slab in range(0, num_slabs):
                    part += tl.load(sums_ptr + slab * weight_size + at, mask=mask, other=0.0)
            if SUMS:
                tl.store(step_sums_ptr + at, part, mask=mask)
            if CODES:
                if rows > 0:
                    sums = tl.load(ema_sums_ptr + at, mask=mask, other=0.0)
                    sums += (1.0 - decay) * (part - sums)
                    tl.store(ema_sums_ptr + at, sums, mask=mask)
                    codes = sums / smoothed[:, None]
                    tl.store(weight_ptr + at, codes.to(weight_ptr.dtype.element_ty), mask=mask)
