"""Tensors as the C++ core takes them: where they lie, and how far they reach."""

from torch import Tensor

__all__ = ["matrix", "span"]


def matrix(rows: Tensor) -> tuple[int, int, int, int]:
    """(address, rows, columns, elements from one row to the next) of columns side by side."""
    return rows.data_ptr(), rows.shape[0], rows.shape[1], rows.stride(0)


def span(tensor: Tensor) -> tuple[int, int]:
    """(address, elements) of contiguous memory."""
    return tensor.data_ptr(), tensor.numel()
