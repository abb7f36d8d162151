"""From a step's partial statistics to new codes: added up in order, averaged, smoothed, divided.

N <- decay N + (1 - decay) n, m <- decay m + (1 - decay) s, c = m / N' with Laplace's
N' = (N + epsilon) / (sum N + K epsilon) sum N, which is not written back (van den Oord et al. 2017,
appendix A.1).  A quantizer without a row in the step keeps its state.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .accumulate_codes import fixed_exponent, power_of_two
from .bank import CODE, DIM, FIELDS, SIZE, SIZES, STRIDE, WEIGHT

__all__ = ["refresh_codes"]

_ERRORS = tl.constexpr(256)


@triton.jit(do_not_specialize=SIZES)
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
    mean_loss_ptr,
    ticket_ptr,
    epoch_counts_ptr,
    epoch_skipped_ptr,
    num_rows,
    num_slabs,
    num_error_slabs,
    num_quantizers,
    total_codes,
    weight_size,
    rate,
    epsilon,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    COUNT_CODES: tl.constexpr,
    SLABS: tl.constexpr,
    LOG_ROWS: tl.constexpr,
    FIXED_POINT: tl.constexpr,
    LOSSES: tl.constexpr,
    SUMS: tl.constexpr,
    EMA: tl.constexpr,
    CODES: tl.constexpr,
    EPOCH: tl.constexpr,
):
    """Program (t, j) does dims j * BLOCK_DIM .. of codes ``tiles[t]`` = (quantizer, first code) ..

    A slab is what the tiles of the same rows, one of each quantizer, have left.

    Args:
        counts_ptr: float32 or int32 [num_slabs, total_codes], rows per code of each slab.
        sums_ptr: float32 [num_slabs, weight_size]; int64 [weight_size] if FIXED_POINT, in the
            units of ``accumulate_codes``.
        peaks_ptr: int32 [total_codes] of ``gather_codes``, if FIXED_POINT.
        errors_ptr: float32 [num_error_slabs, Q], if LOSSES.
        old_counts_ptr: float32 [total_codes], the moving counts before the step, if EMA.
        step_counts_ptr: float32 or int64 [total_codes], written always.
        step_sums_ptr: float32 [weight_size], written if SUMS.
        losses_ptr: float32 [Q], mean squared error over usable rows and dims, written if LOSSES.
        mean_loss_ptr: float32, their mean, likewise.
        ticket_ptr: one number, 0 before the launch, by which the last codebook to finish knows that
            it is, if LOSSES.
        ema_counts_ptr, ema_sums_ptr, weight_ptr: the state, changed in place if EMA; sums and codes
            only if CODES.
        rate: 1 - decay, by the host: in float32 the difference loses what makes a decay near 1.
        epoch_counts_ptr, epoch_skipped_ptr: int64 [total_codes] and [Q], added to if EPOCH.
        COUNT_CODES, SLABS: codes and slabs that are read at a time.
    """
    tile = tl.program_id(0)
    d = tl.program_id(1) * BLOCK_DIM + tl.arange(0, BLOCK_DIM)
    q = tl.load(tiles_ptr + 2 * tile)
    first = tl.load(tiles_ptr + 2 * tile + 1)
    entry = table_ptr + q * FIELDS
    size = tl.load(entry + SIZE).to(tl.int32)
    stride = tl.load(entry + STRIDE)
    code_offset = tl.load(entry + CODE)
    # Every program adds up the whole codebook's counts: the smoothing needs their sum.
    rows = tl.zeros((COUNT_CODES,), tl.int64)
    total = tl.zeros((COUNT_CODES,), tl.float32)
    for k0 in range(0, size, COUNT_CODES):
        k = k0 + tl.arange(0, COUNT_CODES)
        count = _counts(counts_ptr + code_offset, k, k < size, num_slabs, total_codes, SLABS)
        rows += count
        if EMA:
            old = tl.load(old_counts_ptr + code_offset + k, mask=k < size, other=0.0)
            total += old + rate * (count.to(tl.float32) - old)
    rows = tl.sum(rows, axis=0)
    total = tl.sum(total, axis=0)
    k = first + tl.arange(0, BLOCK_CODES)
    exists = k < size
    # Of the programs that share codes, one writes what is per code, and one what is per codebook.
    mine = exists & (k * 0 + tl.program_id(1) == 0)
    first_of_all = (first == 0) & (tl.program_id(1) == 0)
    ids = code_offset + k
    # Loads that take time come before the first store, for the compiler moves none past one.
    count = _counts(counts_ptr + code_offset, k, exists, num_slabs, total_codes, SLABS)
    old = count.to(tl.float32)
    if EMA:
        old = tl.load(old_counts_ptr + ids, mask=exists, other=0.0)
    seen = tl.zeros((BLOCK_CODES,), tl.int64)
    if EPOCH:
        seen = tl.load(epoch_counts_ptr + ids, mask=mine, other=0)
    mask = exists[:, None] & (d < stride)[None, :]
    at = tl.load(entry + WEIGHT) + (k.to(tl.int64) * stride)[:, None] + d[None, :]
    part = tl.zeros((BLOCK_CODES, BLOCK_DIM), tl.float32)
    sums = part
    if SUMS or CODES:
        if FIXED_POINT:
            peak = tl.load(peaks_ptr + ids, mask=exists, other=0)
            unit = power_of_two(-fixed_exponent(peak, LOG_ROWS))
            units = tl.load(sums_ptr + at, mask=mask, other=0).to(tl.float64)
            part = (units * unit[:, None]).to(tl.float32)
        else:
            parts = tl.zeros((SLABS, BLOCK_CODES, BLOCK_DIM), tl.float32)
            for slab in range(0, num_slabs, SLABS):
                slabs = slab + tl.arange(0, SLABS)
                slab_ptrs = sums_ptr + slabs.to(tl.int64)[:, None, None] * weight_size + at[None]
                wanted = (slabs < num_slabs)[:, None, None] & mask[None]
                parts += tl.load(slab_ptrs, mask=wanted, other=0.0)
            part = tl.sum(parts, axis=0)
    if CODES:
        sums = tl.load(ema_sums_ptr + at, mask=mask, other=0.0)
    mean = 0.0
    if LOSSES:
        if first_of_all:
            error = tl.zeros((_ERRORS,), tl.float64)
            for slab in range(0, num_error_slabs, _ERRORS):
                slabs = slab + tl.arange(0, _ERRORS)
                slab_ptrs = errors_ptr + slabs.to(tl.int64) * num_quantizers + q
                error += tl.load(slab_ptrs, mask=slabs < num_error_slabs, other=0.0).to(tl.float64)
            values = tl.maximum(rows * tl.load(entry + DIM), 1).to(tl.float64)
            mean = (tl.sum(error, axis=0) / values).to(tl.float32)

    tl.store(step_counts_ptr + ids, count.to(step_counts_ptr.dtype.element_ty), mask=mine)
    if SUMS:
        tl.store(step_sums_ptr + at, part, mask=mask)
    if EPOCH:
        tl.store(epoch_counts_ptr + ids, seen + count, mask=mine)
    if first_of_all:
        if LOSSES:
            tl.store(losses_ptr + q, mean)
            one = (q * 0 + 1).to(ticket_ptr.dtype.element_ty)
            ticket = tl.atomic_add(ticket_ptr, one, sem="acq_rel")
            if ticket.to(tl.int32) == num_quantizers - 1:
                _average(losses_ptr, mean_loss_ptr, num_quantizers)
        if EPOCH:
            skipped = tl.load(epoch_skipped_ptr + q)
            tl.store(epoch_skipped_ptr + q, skipped + num_rows - rows)
    if EMA:
        if rows > 0:
            moved = old + rate * (count.to(tl.float32) - old)
            tl.store(ema_counts_ptr + ids, moved, mask=mine)
            if CODES:
                sums += rate * (part - sums)
                tl.store(ema_sums_ptr + at, sums, mask=mask)
                smoothed = (moved + epsilon) * (total / (total + size * epsilon))
                codes = sums / smoothed[:, None]
                tl.store(weight_ptr + at, codes.to(weight_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _average(losses_ptr, mean_loss_ptr, num_quantizers):
    """The mean of losses that other programs have written, added up in a fixed order."""
    total = tl.zeros((_ERRORS,), tl.float64)
    for first in range(0, num_quantizers, _ERRORS):
        i = first + tl.arange(0, _ERRORS)
        # Past the first-level cache, which does not see what other programs write.
        losses = tl.load(losses_ptr + i, mask=i < num_quantizers, other=0.0, cache_modifier=".cg")
        total += losses.to(tl.float64)
    tl.store(mean_loss_ptr, (tl.sum(total, axis=0) / num_quantizers).to(tl.float32))


@triton.jit
def _counts(counts_ptr, k, exists, num_slabs, total_codes, SLABS: tl.constexpr):
    """int64 like k: rows per code, added up over slabs."""
    # Slabs in float32 are of at most 2^26 rows: each of 16 lanes stays below 2^24, and so exact.
    count = tl.zeros((SLABS, k.shape[0]), counts_ptr.dtype.element_ty)
    for slab in range(0, num_slabs, SLABS):
        slabs = slab + tl.arange(0, SLABS)
        slab_ptrs = counts_ptr + slabs.to(tl.int64)[:, None] * total_codes + k[None, :]
        mask = (slabs < num_slabs)[:, None] & exists[None, :]
        count += tl.load(slab_ptrs, mask=mask, other=0)
    return tl.sum(count.to(tl.int64), axis=0)
