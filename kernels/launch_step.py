"""Launches of a step after, or with, its lookup: codes, errors, statistics and the update."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .accumulate_codes import LEAST_LOG_ROWS, accumulate_codes
from .bank import REFRESH_CODES, Bank
from .common import NO_FUSION, ROWS, is_aligned, power_of_two
from .gather_codes import gather_codes
from .launch_lookup import SMALL_CODES, SMALL_DIMS, SMALL_ROWS, SMALL_WARPS
from .launcher import launch_on
from .quantize_small import quantize_small
from .refresh_codes import refresh_codes

__all__ = ["Averages", "Step", "add_up", "large_step", "small_step"]

_DIMS = 32


@dataclass(frozen=True)
class Averages:
    """The state that a train step moves in place.

    Attributes:
        counts: float32 [total_codes], moving average of rows per code.
        sums: float32 [weight_size], moving average of their sums; None: codes are learned.
        epoch_counts: int64 [total_codes], rows per code, added to.
        epoch_skipped: int64 [Q], rows left out, added to.
        decay: share of the old average that a step keeps.
        epsilon: pseudo-rows per code of the smoothing.
    """

    counts: Tensor
    sums: Tensor | None
    epoch_counts: Tensor
    epoch_skipped: Tensor
    decay: float
    epsilon: float


@dataclass(frozen=True)
class Step:
    """What ``quantize`` returns.

    Attributes:
        quantized: [B, input_width] in the rows' dtype, the codes before the update.
        indices: int64 [B, Q].
        losses: float32 [Q], mean squared error over usable rows and D_q dims.
        counts: int64 [total_codes], rows of this batch per code.
        mean_loss: float32 [], mean of the losses.
    """

    quantized: Tensor
    indices: Tensor
    losses: Tensor
    counts: Tensor
    mean_loss: Tensor


@dataclass(frozen=True)
class _Scratch:
    """Partial results on their way to ``refresh_codes``; None where a step has no such.

    A slab is what the tiles of the same rows write: errors, and in small banks counts and sums.
    """

    counts: Tensor
    sums: Tensor
    old_counts: Tensor
    ticket: Tensor
    peaks: Tensor | None = None
    chosen: Tensor | None = None
    errors: Tensor | None = None
    slabs: int = 0


def small_step(
    rows: Tensor, weight: Tensor, bank: Bank, step: Step, averages: Averages | None
) -> None:
    block_rows = SMALL_ROWS
    slabs = -(-rows.shape[0] // block_rows)
    statistics = averages is not None and averages.sums is not None
    parts = [slabs * bank.num_quantizers, slabs * bank.total_codes, bank.total_codes]
    parts += [slabs * bank.weight_size if statistics else 0, 1]
    # Each part begins at 16 bytes, whatever the batch: kernels are compiled for how pointers lie.
    fours = [4 * -(-part // 4) for part in parts]
    errors, counts, old, sums, ticket = torch.empty(
        sum(fours), dtype=torch.float32, device=rows.device
    ).split(fours)
    launch_on(quantize_small, bank.every.grid(rows.shape[0], block_rows))(
        rows,
        rows.stride(0),
        step.quantized.stride(0),
        weight,
        bank.table,
        bank.every.table,
        bank.num_quantizers,
        step.indices,
        step.quantized,
        errors,
        counts,
        sums,
        old if averages is None else averages.counts,
        old,
        ticket,
        rows.shape[0],
        bank.num_quantizers,
        bank.total_codes,
        bank.weight_size,
        BLOCK_ROWS=block_rows,
        BLOCK_CODES=power_of_two(bank.largest),
        BLOCK_DIM=SMALL_DIMS,
        QUANTIZE=True,
        STATISTICS=statistics,
        KEEP_COUNTS=averages is not None,
        ALIGNED=is_aligned(bank, rows) and step.quantized.stride(0) % 4 == 0,
        num_warps=SMALL_WARPS,
        **NO_FUSION,
    )
    scratch = _Scratch(counts, sums, old, ticket, errors=errors, slabs=slabs)
    _refresh(rows, bank, scratch, step.counts, step=step, weight=weight, averages=averages)


def add_up(rows: Tensor, indices: Tensor, bank: Bank, counts: Tensor, sums: Tensor) -> None:
    """Counts and sums of the usable rows of each code, into the last two."""
    scratch = _fixed_point(bank, rows)
    _gather(rows, sums, bank, indices, scratch)
    _refresh(rows, bank, scratch, counts, sums=sums)


def large_step(
    rows: Tensor, weight: Tensor, bank: Bank, step: Step, averages: Averages | None
) -> None:
    slabs = -(-rows.shape[0] // ROWS)
    sums = averages is not None and averages.sums is not None
    errors = torch.empty(slabs * bank.num_quantizers, dtype=torch.float32, device=rows.device)
    scratch = _fixed_point(bank, rows, errors=errors, slabs=slabs, with_sums=sums)
    _gather(rows, weight, bank, step.indices, scratch, step, averages)
    _refresh(rows, bank, scratch, step.counts, step=step, weight=weight, averages=averages)


def _fixed_point(
    bank: Bank,
    rows: Tensor,
    *,
    errors: Tensor | None = None,
    slabs: int = 0,
    with_sums: bool = True,
) -> _Scratch:
    """Zeroed integer sums, counts, peaks and ticket in one buffer."""
    device = rows.device
    size = bank.weight_size if with_sums else 0
    zeros = torch.zeros(size + bank.total_codes + 1, dtype=torch.int64, device=device)
    sums, by_code, ticket = zeros.split([size, bank.total_codes, 1])
    counts, peaks = by_code.view(torch.int32).split(bank.total_codes)
    old = torch.empty(bank.total_codes, dtype=torch.float32, device=device)
    chosen = torch.empty(
        bank.num_quantizers * rows.shape[0] if with_sums else 0, dtype=torch.int32, device=device
    )
    return _Scratch(counts, sums, old, ticket, peaks, chosen, errors, slabs)


def _log_rows(num_rows: int) -> int:
    """LOG_ROWS of a batch: one for all batches whose sums come out alike."""
    return max(LEAST_LOG_ROWS, (num_rows - 1).bit_length())


def _gather(
    rows: Tensor,
    weight: Tensor,
    bank: Bank,
    indices: Tensor,
    scratch: _Scratch,
    step: Step | None = None,
    averages: Averages | None = None,
) -> None:
    """Codes and errors if there is a step; counts, peaks and sums."""
    launch_on(gather_codes, bank.every.grid(rows.shape[0], ROWS))(
        rows,
        rows.stride(0),
        0 if step is None else step.quantized.stride(0),
        weight,
        bank.table,
        bank.every.table,
        bank.num_quantizers,
        indices,
        rows if step is None else step.quantized,
        scratch.old_counts if scratch.errors is None else scratch.errors,
        scratch.counts,
        scratch.peaks,
        scratch.chosen if scratch.sums.numel() else scratch.counts,
        scratch.old_counts if averages is None else averages.counts,
        scratch.old_counts,
        rows.shape[0],
        bank.num_quantizers,
        BLOCK_ROWS=ROWS,
        BLOCK_DIM=_DIMS,
        QUANTIZE=step is not None,
        SUMS=bool(scratch.sums.numel()),
        KEEP_COUNTS=averages is not None,
        ALIGNED=is_aligned(bank, rows) and (step is None or step.quantized.stride(0) % 4 == 0),
    )
    if scratch.sums.numel():
        _sums(rows, bank, scratch)


def _sums(rows: Tensor, bank: Bank, scratch: _Scratch) -> None:
    launch_on(accumulate_codes, bank.every.grid(rows.shape[0], ROWS))(
        rows,
        rows.stride(0),
        bank.table,
        bank.every.table,
        bank.num_quantizers,
        scratch.chosen,
        scratch.peaks,
        scratch.sums,
        rows.shape[0],
        BLOCK_ROWS=ROWS,
        BLOCK_DIM=_DIMS,
        LOG_ROWS=_log_rows(rows.shape[0]),
        ALIGNED=is_aligned(bank, rows),
    )


def _refresh(
    rows: Tensor,
    bank: Bank,
    scratch: _Scratch,
    counts: Tensor,
    *,
    sums: Tensor | None = None,
    step: Step | None = None,
    weight: Tensor | None = None,
    averages: Averages | None = None,
) -> None:
    none = counts  # a pointer that is never followed
    fixed = scratch.peaks is not None
    codes = averages is not None and averages.sums is not None
    block_codes = REFRESH_CODES[0 if fixed else 1]
    tiles = bank.refresh_tiles[block_codes]
    columns = -(-bank.widest // _DIMS) if codes or sums is not None else 1
    launch_on(refresh_codes, (tiles.shape[0], columns))(
        bank.table,
        tiles,
        scratch.counts,
        scratch.sums if scratch.sums.numel() else none,
        scratch.peaks if fixed else none,
        none if scratch.errors is None else scratch.errors,
        scratch.old_counts,
        none if averages is None else averages.counts,
        none if averages is None or averages.sums is None else averages.sums,
        none if weight is None else weight,
        counts,
        none if sums is None else sums,
        none if step is None else step.losses,
        none if step is None else step.mean_loss,
        scratch.ticket,
        none if averages is None else averages.epoch_counts,
        none if averages is None else averages.epoch_skipped,
        rows.shape[0],
        1 if fixed else scratch.slabs,
        scratch.slabs,
        bank.num_quantizers,
        bank.total_codes,
        bank.weight_size,
        0.0 if averages is None else 1.0 - averages.decay,
        0.0 if averages is None else averages.epsilon,
        BLOCK_CODES=block_codes,
        BLOCK_DIM=_DIMS,
        COUNT_CODES=1024 if fixed else SMALL_CODES,
        SLABS=1 if fixed else 16,
        LOG_ROWS=_log_rows(rows.shape[0]) if fixed else 0,
        FIXED_POINT=fixed,
        LOSSES=step is not None,
        SUMS=sums is not None,
        EMA=averages is not None,
        CODES=codes,
        EPOCH=averages is not None,
    )
