"""The verbs on tensors: which kernels run, on which grids, with which scratch memory.

A bank of small codebooks takes two launches for a whole train step.  Others take a first pass on
tensor cores (one launch per packed width), a recheck of doubtful rows, and statistics in fixed
point.  Nothing here waits for the device, and grids depend on shapes alone: everything can be
captured in a CUDA graph.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from .accumulate_codes import accumulate_codes
from .bank import BLOCK_CODES, Bank, packed_codes
from .gather_codes import gather_codes
from .nearest_codes import LISTED, first_pass
from .nearest_of_group import nearest_of_group
from .pack_codes import RADII, pack_codes
from .quantize_backward import quantize_backward
from .quantize_small import quantize_small
from .recheck import recheck
from .refresh_codes import refresh_codes

__all__ = ["Averages", "Step", "accumulate", "backward", "is_small", "nearest", "quantize"]

# TRITON_INTERPRET=1 was set when the kernels were imported.
INTERPRETED = not isinstance(quantize_small, triton.runtime.JITFunction)
# Row x code x dim products up to which comparing everything in float64 beats a first pass.
SMALL_WORK = 1 << 26
SMALL_CODES = 64
SMALL_ROWS = 32
SMALL_DIMS = 16
SMALL_WARPS = 4
# (packed width, many codes) -> rows and codes of a tile, warps, pipeline stages, codes first.
TILES = {
    (16, False): (64, 16, 4, 3, False),
    (32, False): (64, 32, 4, 3, False),
    (64, False): (64, 32, 4, 3, False),
    (128, False): (64, 32, 4, 3, False),
    (256, False): (64, 64, 4, 2, True),
    (512, False): (32, 64, 8, 2, True),
    (16, True): (64, 64, 4, 3, True),
    (32, True): (64, 64, 4, 3, True),
    (64, True): (64, 64, 4, 3, True),
    (128, True): (64, 64, 4, 3, True),
    (256, True): (64, 64, 4, 2, True),
    (512, True): (32, 64, 8, 2, True),
}
# Where keeping books per code would cost more than the products: groups of GROUP blocks.
GROUPED = {(16, True), (32, True), (64, True)}
GROUP = 4
# Codes of one packing program: narrow ones, and others; the interpreter pays per program.
PACK_CODES = (32, 32) if INTERPRETED else (32, 8)
_GROUP_ROWS = 32
_ROWS = 64
LEAST_LISTED = 1 << 14
# For each list: programs per multiprocessor, codes and (at most 128 wide or more) dims at a time,
# warps.
RECHECKS = ((32, 4, (32, 128), 1), (4, 64, (32, 32), 4))
_DIMS = 32
# Codes of one refreshing program; partial sums of many slabs take time.
_CODES = 16
_FEW_CODES = 4
_NO_FUSION = {"enable_fp_fusion": False}


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
        counts: float32 [total_codes], rows of this batch per code.
    """

    quantized: Tensor
    indices: Tensor
    losses: Tensor
    counts: Tensor


def is_small(bank: Bank, num_rows: int) -> bool:
    """Whether the bank's step runs in float64 throughout."""
    return max(bank.sizes) <= SMALL_CODES and num_rows * bank.code_elements <= SMALL_WORK


def nearest(rows: Tensor, weight: Tensor, bank: Bank) -> Tensor:
    """int64 [B, Q]: the nearest codes, equal to the float64 truth.

    Args:
        rows: float32, float16 or bfloat16 [B, input_width], the last dimension contiguous.
        weight: flat [weight_size], any of these types.
        bank: where codebooks lie.
    """
    indices = torch.empty(len(rows), bank.num_quantizers, dtype=torch.int64, device=rows.device)
    if not len(rows):
        return indices
    with _on(rows):
        if is_small(bank, len(rows)):
            _scan(rows, weight, bank, indices, tuple(range(bank.num_quantizers)))
        else:
            _certified(rows, weight, bank, indices)
    return indices


def quantize(rows: Tensor, weight: Tensor, bank: Bank, averages: Averages | None = None) -> Step:
    """Lookup, gather, error and rows per code; with ``averages`` the whole train step.

    Args:
        rows, weight, bank: as in ``nearest``.
        averages: moved by this batch, in place, and with them the weight.
    """
    step = Step(
        torch.empty(len(rows), bank.input_width, dtype=rows.dtype, device=rows.device),
        torch.empty(len(rows), bank.num_quantizers, dtype=torch.int64, device=rows.device),
        torch.empty(bank.num_quantizers, dtype=torch.float32, device=rows.device),
        torch.empty(bank.total_codes, dtype=torch.float32, device=rows.device),
    )
    if not len(rows):
        step.losses.zero_()
        step.counts.zero_()
        return step
    with _on(rows):
        if is_small(bank, len(rows)):
            _small_step(rows, weight, bank, step, averages)
        else:
            _certified(rows, weight, bank, step.indices)
            _large_step(rows, weight, bank, step, averages)
    return step


def accumulate(rows: Tensor, indices: Tensor, bank: Bank) -> tuple[Tensor, Tensor]:
    """(counts float32 [total_codes], sums float32 [weight_size]) of the usable rows of each code.

    Args:
        rows, bank: as in ``nearest``.
        indices: int64 [B, Q], each in 0..K_q - 1.
    """
    counts = torch.zeros(bank.total_codes, dtype=torch.float32, device=rows.device)
    sums = torch.zeros(bank.weight_size, dtype=torch.float32, device=rows.device)
    if not len(rows):
        return counts, sums
    with _on(rows):
        scratch = _fixed_point(bank, rows)
        _gather(rows, sums, bank, indices, scratch)
        _refresh(rows, bank, scratch, counts, sums=sums)
    return counts, sums


def backward(
    rows: Tensor,
    quantized: Tensor,
    counts: Tensor,
    grad_quantized: Tensor,
    grad_losses: Tensor,
    bank: Bank,
) -> Tensor:
    """[B, input_width]: the gradient of the rows, straight-through plus commitment.

    Args:
        rows, quantized, counts: of the step.
        grad_quantized: [B, input_width].
        grad_losses: float32 [Q].
        bank: where columns lie.
    """
    grad = torch.empty(rows.shape, dtype=rows.dtype, device=rows.device)
    if not len(rows):
        return grad
    grad_quantized = _unit_stride(grad_quantized)
    tiles = bank.row_tiles(range(bank.num_quantizers), len(rows), _ROWS)
    with _on(rows):
        quantize_backward[(len(tiles),)](
            rows,
            rows.stride(0),
            quantized,
            quantized.stride(0),
            grad_quantized,
            grad_quantized.stride(0),
            grad_losses.contiguous(),
            counts,
            grad,
            grad.stride(0),
            bank.table,
            tiles,
            len(rows),
            BLOCK_ROWS=_ROWS,
            BLOCK_DIM=_DIMS,
            BLOCK_CODES=128,
            ALIGNED=all(_aligned(bank, t) for t in (rows, quantized, grad_quantized, grad)),
        )
    return grad


@dataclass(frozen=True)
class _Scratch:
    """Partial results on their way to ``refresh_codes``; None where a step has no such."""

    counts: Tensor
    sums: Tensor
    old_counts: Tensor
    peaks: Tensor | None = None
    chosen: Tensor | None = None
    errors: Tensor | None = None


def _scan(
    rows: Tensor, weight: Tensor, bank: Bank, indices: Tensor, quantizers: tuple[int, ...]
) -> None:
    """Float64 comparisons of every code of some quantizers."""
    none = indices  # a pointer that is never followed
    block_rows = SMALL_ROWS
    tiles = bank.row_tiles(quantizers, len(rows), block_rows)
    block_codes = min(SMALL_CODES, _power_of_two(max(bank.sizes[q] for q in quantizers)))
    quantize_small[(len(tiles),)](
        rows,
        rows.stride(0),
        0,
        weight,
        bank.table,
        tiles,
        indices,
        none,
        none,
        none,
        none,
        none,
        none,
        len(rows),
        bank.num_quantizers,
        bank.total_codes,
        bank.weight_size,
        BLOCK_ROWS=block_rows,
        BLOCK_CODES=block_codes,
        BLOCK_DIM=SMALL_DIMS,
        QUANTIZE=False,
        STATISTICS=False,
        KEEP_COUNTS=False,
        ALIGNED=_aligned(bank, rows),
        num_warps=SMALL_WARPS,
        **_NO_FUSION,
    )


def _certified(rows: Tensor, weight: Tensor, bank: Bank, indices: Tensor) -> None:
    """First pass on tensor cores, then the recheck; quantizers too wide for it are scanned."""
    device, num_rows = rows.device, len(rows)
    if bank.unpacked:
        _scan(rows, weight, bank, indices, bank.unpacked)
    if not bank.buckets:
        return
    packed = torch.empty(bank.packed_size, dtype=torch.float16, device=device)
    floats = torch.empty(
        bank.norm_size + bank.centre_size + bank.num_quantizers, dtype=torch.float32, device=device
    )
    norms, centres, scales = floats.split([bank.norm_size, bank.centre_size, bank.num_quantizers])
    zeros = torch.zeros(bank.num_quantizers * RADII.value + 2, dtype=torch.int32, device=device)
    radii, counters = zeros.split([bank.num_quantizers * RADII.value, 2])
    widest = max(width for width, _ in bank.buckets)
    pack = PACK_CODES[widest > 32]
    packing = bank.code_tiles(pack)
    members = sum(len(quantizers) for quantizers in bank.buckets.values())
    # Room for one row in eight; more are settled without it, slowly.
    capacity = max(LEAST_LISTED, num_rows * members // 8)
    listed = torch.empty(2 * capacity * LISTED.value, dtype=torch.int32, device=device)
    pack_codes[(len(packing),)](
        weight,
        bank.table,
        packing,
        packed,
        norms,
        radii,
        centres,
        scales,
        BLOCK_CODES=pack,
        BLOCK_DIM=widest,
        **_NO_FUSION,
    )
    for (width, many), quantizers in bank.buckets.items():
        block_rows, block_codes, warps, stages, codes_first = TILES[width, many]
        group = GROUP if (width, many) in GROUPED else 1
        largest = packed_codes(max(bank.sizes[q] for q in quantizers))
        tiles = bank.row_tiles(quantizers, num_rows, block_rows)
        first_pass[(len(tiles),)](
            rows,
            rows.stride(0),
            bank.table,
            tiles,
            packed,
            norms,
            radii,
            centres,
            scales,
            indices,
            listed,
            counters,
            capacity,
            num_rows,
            bank.num_quantizers,
            BLOCK_ROWS=block_rows,
            BLOCK_CODES=block_codes,
            GROUP=group,
            WIDTH=width,
            BITS=max(1, (largest // (block_codes * group) - 1).bit_length()),
            ALIGNED=_aligned(bank, rows),
            CODES_FIRST=codes_first,
            NVIDIA=not INTERPRETED and torch.version.hip is None,
            num_warps=warps,
            num_stages=stages,
            **_NO_FUSION,
        )
    grouped = [q for bucket, members in bank.buckets.items() if bucket in GROUPED for q in members]
    if grouped:
        tiles = bank.row_tiles(grouped, num_rows, _GROUP_ROWS)
        nearest_of_group[(len(tiles),)](
            rows,
            rows.stride(0),
            weight,
            bank.table,
            tiles,
            indices,
            listed,
            counters,
            capacity,
            num_rows,
            bank.num_quantizers,
            BLOCK_ROWS=_GROUP_ROWS,
            BLOCK_CODES=BLOCK_CODES,
            BLOCK_DIM=32,
            GROUP=GROUP,
            ALIGNED=_aligned(bank, rows),
            **_NO_FUSION,
        )
    for which, (programs, block_codes, block_dims, warps) in enumerate(RECHECKS):
        recheck[(programs * _multiprocessors(device),)](
            rows,
            rows.stride(0),
            weight,
            bank.table,
            indices,
            listed,
            counters,
            capacity,
            num_rows,
            bank.num_quantizers,
            LIST=which,
            BLOCK_CODES=block_codes,
            BLOCK_DIM=block_dims[widest > 128],
            ALIGNED=_aligned(bank, rows),
            num_warps=warps,
            **_NO_FUSION,
        )


def _small_step(
    rows: Tensor, weight: Tensor, bank: Bank, step: Step, averages: Averages | None
) -> None:
    block_rows = SMALL_ROWS
    tiles = bank.row_tiles(range(bank.num_quantizers), len(rows), block_rows)
    slabs = -(-len(rows) // block_rows)
    statistics = averages is not None and averages.sums is not None
    parts = [slabs * bank.num_quantizers, slabs * bank.total_codes, bank.total_codes]
    parts += [slabs * bank.weight_size if statistics else 0]
    errors, counts, old, sums = torch.empty(
        sum(parts), dtype=torch.float32, device=rows.device
    ).split(parts)
    quantize_small[(len(tiles),)](
        rows,
        rows.stride(0),
        step.quantized.stride(0),
        weight,
        bank.table,
        tiles,
        step.indices,
        step.quantized,
        errors,
        counts,
        sums,
        old if averages is None else averages.counts,
        old,
        len(rows),
        bank.num_quantizers,
        bank.total_codes,
        bank.weight_size,
        BLOCK_ROWS=block_rows,
        BLOCK_CODES=_power_of_two(max(bank.sizes)),
        BLOCK_DIM=SMALL_DIMS,
        QUANTIZE=True,
        STATISTICS=statistics,
        KEEP_COUNTS=averages is not None,
        ALIGNED=_aligned(bank, rows) and step.quantized.stride(0) % 4 == 0,
        num_warps=SMALL_WARPS,
        **_NO_FUSION,
    )
    scratch = _Scratch(counts, sums, old, errors=errors)
    _refresh(rows, bank, scratch, step.counts, step=step, weight=weight, averages=averages)


def _large_step(
    rows: Tensor, weight: Tensor, bank: Bank, step: Step, averages: Averages | None
) -> None:
    slabs = -(-len(rows) // _ROWS)
    sums = averages is not None and averages.sums is not None
    errors = torch.empty(slabs * bank.num_quantizers, dtype=torch.float32, device=rows.device)
    scratch = _fixed_point(bank, rows, errors=errors, with_sums=sums)
    _gather(rows, weight, bank, step.indices, scratch, step, averages)
    _refresh(rows, bank, scratch, step.counts, step=step, weight=weight, averages=averages)


def _fixed_point(
    bank: Bank, rows: Tensor, *, errors: Tensor | None = None, with_sums: bool = True
) -> _Scratch:
    """Zeroed integer sums, counts and peaks in one buffer."""
    device = rows.device
    size = bank.weight_size if with_sums else 0
    zeros = torch.zeros(size + bank.total_codes, dtype=torch.int64, device=device)
    counts, peaks = zeros[size:].view(torch.int32).split(bank.total_codes)
    old = torch.empty(bank.total_codes, dtype=torch.float32, device=device)
    chosen = torch.empty(
        bank.num_quantizers * len(rows) if with_sums else 0, dtype=torch.int32, device=device
    )
    return _Scratch(counts, zeros[:size], old, peaks, chosen, errors)


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
    tiles = bank.row_tiles(range(bank.num_quantizers), len(rows), _ROWS)
    gather_codes[(len(tiles),)](
        rows,
        rows.stride(0),
        0 if step is None else step.quantized.stride(0),
        weight,
        bank.table,
        tiles,
        indices,
        rows if step is None else step.quantized,
        scratch.old_counts if scratch.errors is None else scratch.errors,
        scratch.counts,
        scratch.peaks,
        scratch.chosen if scratch.sums.numel() else scratch.counts,
        scratch.old_counts if averages is None else averages.counts,
        scratch.old_counts,
        len(rows),
        bank.num_quantizers,
        BLOCK_ROWS=_ROWS,
        BLOCK_DIM=_DIMS,
        QUANTIZE=step is not None,
        SUMS=bool(scratch.sums.numel()),
        KEEP_COUNTS=averages is not None,
        ALIGNED=_aligned(bank, rows) and (step is None or step.quantized.stride(0) % 4 == 0),
    )
    if scratch.sums.numel():
        _sums(rows, bank, scratch)


def _sums(rows: Tensor, bank: Bank, scratch: _Scratch) -> None:
    tiles = bank.row_tiles(range(bank.num_quantizers), len(rows), _ROWS)
    accumulate_codes[(len(tiles),)](
        rows,
        rows.stride(0),
        bank.table,
        tiles,
        scratch.chosen,
        scratch.peaks,
        scratch.sums,
        len(rows),
        BLOCK_ROWS=_ROWS,
        BLOCK_DIM=_DIMS,
        LOG_ROWS=(len(rows) - 1).bit_length(),
        ALIGNED=_aligned(bank, rows),
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
    block_codes = _CODES if fixed else _FEW_CODES
    tiles = bank.refresh_tiles(block_codes)
    columns = -(-bank.widest // _DIMS) if codes or sums is not None else 1
    refresh_codes[(len(tiles), columns)](
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
        none if averages is None else averages.epoch_counts,
        none if averages is None else averages.epoch_skipped,
        len(rows),
        1 if fixed else scratch.counts.numel() // bank.total_codes,
        0 if scratch.errors is None else scratch.errors.numel() // bank.num_quantizers,
        bank.num_quantizers,
        bank.total_codes,
        bank.weight_size,
        0.0 if averages is None else averages.decay,
        0.0 if averages is None else averages.epsilon,
        BLOCK_CODES=block_codes,
        BLOCK_DIM=_DIMS,
        COUNT_CODES=1024 if fixed else SMALL_CODES,
        SLABS=1 if fixed else 16,
        LOG_ROWS=(len(rows) - 1).bit_length(),
        FIXED_POINT=fixed,
        LOSSES=step is not None,
        SUMS=sums is not None,
        EMA=averages is not None,
        CODES=codes,
        EPOCH=averages is not None,
    )


def _aligned(bank: Bank, rows: Tensor) -> bool:
    """Whether rows can be read four values at a time."""
    return bank.aligned and rows.stride(0) % 4 == 0


def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _power_of_two(value: int) -> int:
    """The next power of two, at least 16: what a tile of codes is rounded to."""
    return max(16, triton.next_power_of_2(value))


def _unit_stride(matrix: Tensor) -> Tensor:
    return matrix if matrix.stride(1) == 1 else matrix.contiguous()


def _on(tensor: Tensor) -> AbstractContextManager[object]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
