"""What every launch needs: how kernels run here, and small sums about shapes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
import triton
from torch import Tensor

from .bank import Bank
from .quantize_small import quantize_small

__all__ = [
    "INTERPRETED",
    "NO_FUSION",
    "ROWS",
    "architecture",
    "is_aligned",
    "multiprocessors",
    "on_device_of",
    "power_of_two",
    "with_unit_stride",
]

# TRITON_INTERPRET=1 was set when the kernels were imported.
INTERPRETED = not isinstance(quantize_small, triton.runtime.JITFunction)
NO_FUSION = {"enable_fp_fusion": False}
_HERE = nullcontext()
# Rows of a tile in kernels that only move rows.
ROWS = 64


def is_aligned(bank: Bank, rows: Tensor) -> bool:
    """Whether rows can be read four values at a time."""
    return bank.aligned and rows.stride(0) % 4 == 0


@lru_cache(maxsize=64)
def multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


@lru_cache(maxsize=64)
def architecture(device: torch.device) -> int:
    """NVIDIA's number, 80 for sm_80; 90 for other devices, which take what was measured there."""
    if device.type != "cuda" or torch.version.hip is not None:
        return 90
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def power_of_two(value: int) -> int:
    """The next power of two, at least 16: what a tile of codes is rounded to."""
    return max(16, triton.next_power_of_2(value))


def with_unit_stride(matrix: Tensor) -> Tensor:
    return matrix if matrix.stride(1) == 1 else matrix.contiguous()


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    if tensor.is_cuda and tensor.get_device() != torch.cuda.current_device():
        return torch.cuda.device(tensor.device)
    return _HERE
