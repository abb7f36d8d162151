"""Tensors as the C++ core takes them: where they lie, and how far they reach."""

from torch import Tensor

__all__ = ["as_rows", "matrix", "span"]


def as_rows(values: Tensor) -> Tensor:
    """A matrix itself where its rows lie one after the other, each in one piece; else a copy.

    Gradients of sums and means are expanded: all their rows are one.
    """
    apart = values.shape[0] < 2 or values.stride(0) >= values.shape[1]
    return values if values.stride(1) == 1 and apart else values.contiguous()


def matrix(rows: Tensor) -> tuple[int, int, int, int]:
    """(address, rows, columns, elements from one row to the next) of columns side by side."""
    return rows.data_ptr(), rows.shape[0], rows.shape[1], rows.stride(0)


def span(tensor: Tensor) -> tuple[int, int]:
    """(address, elements) of contiguous memory."""
    return tensor.data_ptr(), tensor.numel()
