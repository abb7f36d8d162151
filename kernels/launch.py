"""The verbs on tensors: which kernels run, on which grids, with which scratch memory.

A bank of small codebooks takes two launches for a whole train step.  Others take a first pass on
tensor cores (one launch per packed width), a recheck of doubtful rows, and statistics in fixed
point.  Nothing here waits for the device or copies to it, and grids depend on shapes alone: what
has run once can be captured in a CUDA graph, for batches of any size that go the same way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .bank import Bank
from .common import INTERPRETED, ROWS, is_aligned, on_device_of, with_unit_stride
from .launch_lookup import SMALL_CODES, certified, scan
from .launch_step import Averages, Step, add_up, large_step, small_step
from .launcher import launch_on
from .quantize_backward import quantize_backward

__all__ = [
    "INTERPRETED",
    "Averages",
    "Step",
    "accumulate",
    "backward",
    "is_small",
    "nearest",
    "quantize",
]

# Row x code x dim products up to which comparing with every code beats a first pass.
SMALL_WORK = 1 << 26
_DIMS = 32


def is_small(bank: Bank, num_rows: int) -> bool:
    """Whether rows are compared with every code of the bank, without a first pass."""
    return bank.largest <= SMALL_CODES and num_rows * bank.code_elements <= SMALL_WORK


def nearest(rows: Tensor, weight: Tensor, bank: Bank) -> Tensor:
    """int64 [B, Q]: the nearest codes, equal to the float64 truth.

    Args:
        rows: float32, float16 or bfloat16 [B, input_width], the last dimension contiguous.
        weight: flat [weight_size], any of these types.
        bank: where codebooks lie.
    """
    indices = torch.empty(rows.shape[0], bank.num_quantizers, dtype=torch.int64, device=rows.device)
    if not rows.shape[0]:
        return indices
    with on_device_of(rows):
        if is_small(bank, rows.shape[0]):
            scan(rows, weight, bank, indices, bank.every)
        else:
            certified(rows, weight, bank, indices)
    return indices


def quantize(rows: Tensor, weight: Tensor, bank: Bank, averages: Averages | None = None) -> Step:
    """Lookup, gather, error and rows per code; with ``averages`` the whole train step.

    Args:
        rows, weight, bank: as in ``nearest``.
        averages: moved by this batch, in place, and with them the weight.
    """
    step = Step(
        torch.empty(rows.shape[0], bank.input_width, dtype=rows.dtype, device=rows.device),
        torch.empty(rows.shape[0], bank.num_quantizers, dtype=torch.int64, device=rows.device),
        torch.empty(bank.num_quantizers, dtype=torch.float32, device=rows.device),
        torch.empty(bank.total_codes, dtype=torch.int64, device=rows.device),
        torch.empty((), dtype=torch.float32, device=rows.device),
    )
    if not rows.shape[0]:
        step.losses.zero_()
        step.counts.zero_()
        step.mean_loss.zero_()
        return step
    with on_device_of(rows):
        if is_small(bank, rows.shape[0]):
            small_step(rows, weight, bank, step, averages)
        else:
            certified(rows, weight, bank, step.indices)
            large_step(rows, weight, bank, step, averages)
    return step


def accumulate(rows: Tensor, indices: Tensor, bank: Bank) -> tuple[Tensor, Tensor]:
    """(counts float32 [total_codes], sums float32 [weight_size]) of the usable rows of each code.

    Args:
        rows, bank: as in ``nearest``.
        indices: int64 [B, Q], each in 0..K_q - 1.
    """
    counts = torch.zeros(bank.total_codes, dtype=torch.float32, device=rows.device)
    sums = torch.zeros(bank.weight_size, dtype=torch.float32, device=rows.device)
    if not rows.shape[0]:
        return counts, sums
    with on_device_of(rows):
        add_up(rows, indices, bank, counts, sums)
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
    if not rows.shape[0]:
        return grad
    quantized, grad_quantized = with_unit_stride(quantized), with_unit_stride(grad_quantized)
    members = bank.every
    with on_device_of(rows):
        launch_on(quantize_backward, members.grid(rows.shape[0], ROWS))(
            rows,
            rows.stride(0),
            quantized,
            quantized.stride(0),
            grad_quantized,
            grad_quantized.stride(0),
            grad_losses.contiguous(),
            counts.contiguous(),
            grad,
            grad.stride(0),
            bank.table,
            members.table,
            len(members.quantizers),
            rows.shape[0],
            BLOCK_ROWS=ROWS,
            BLOCK_DIM=_DIMS,
            BLOCK_CODES=128,
            ALIGNED=all(is_aligned(bank, t) for t in (rows, quantized, grad_quantized, grad)),
        )
    return grad
