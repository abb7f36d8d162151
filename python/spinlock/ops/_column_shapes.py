"""Shapes of tensors whose columns are those of several parts, side by side."""

from torch import Tensor

from spinlock.errors import InputError

__all__ = ["ANY", "require_shape"]

ANY = -1  # as many rows as there are


def require_shape(name: str, tensor: Tensor, shape: tuple[int, ...], parts: str) -> None:
    """Raises InputError unless a tensor has this shape; ``ANY`` is any number of rows."""
    if tensor.shape == shape:
        return
    expected = ", ".join("rows" if size == ANY else str(size) for size in shape)
    raise InputError(
        f"{name}: expected shape [{expected}], got {list(tensor.shape)}; the {parts}' columns lie "
        "side by side, their weights are padded to the widest"
    )
