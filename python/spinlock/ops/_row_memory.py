"""The forms in memory that the C++ core takes tensors in."""

from torch import Tensor

__all__ = ["as_dense", "as_rows"]


def as_rows(values: Tensor) -> Tensor:
    """A matrix itself where its rows lie one after the other, each in one piece; else a copy.

    Gradients of sums and means are expanded: all their rows are one.
    """
    if values.is_neg():  # as of z.conj().imag: the sign is not in memory
        values = values.resolve_neg()
    apart = values.shape[0] < 2 or values.stride(0) >= values.shape[1]
    return values if values.stride(1) == 1 and apart else values.contiguous()


def as_dense(values: Tensor) -> Tensor:
    """A tensor itself where its elements lie side by side, signs included; else a copy."""
    if values.is_neg():
        values = values.resolve_neg()
    return values.contiguous()
