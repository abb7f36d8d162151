"""The form in memory that the C++ core takes rows in."""

from torch import Tensor

__all__ = ["as_rows"]


def as_rows(values: Tensor) -> Tensor:
    """A matrix itself where its rows lie one after the other, each in one piece; else a copy.

    Gradients of sums and means are expanded: all their rows are one.
    """
    apart = values.shape[0] < 2 or values.stride(0) >= values.shape[1]
    return values if values.stride(1) == 1 and apart else values.contiguous()
