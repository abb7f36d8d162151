"""How the original lays tensors out: sequences, single tokens, channels first, images, volumes."""

from typing import NamedTuple

from torch import Tensor

from spinlock.errors import InputError

__all__ = ["Places", "to_sequences"]


class Places(NamedTuple):
    """Where the rows [batch, n, dim] of a call came from.

    Attributes:
        shape: of the places: [n], [h, w] or [d, h, w]; [] for single tokens.
        channels_first: whether the channels are dimension 1.
    """

    shape: tuple[int, ...]
    channels_first: bool

    def restore(self, rows: Tensor) -> Tensor:
        """[batch, n, *extra, dim] -> [batch, *places, *extra, dim] or [batch, dim, *places, ..]."""
        placed = rows.reshape(rows.shape[0], *self.shape, *rows.shape[2:])
        return placed.movedim(-1, 1) if self.channels_first else placed

    def restore_indices(self, indices: Tensor) -> Tensor:
        """[batch, n, *extra] -> [batch, *places, *extra]."""
        return indices.reshape(indices.shape[0], *self.shape, *indices.shape[2:])


def to_sequences(x: Tensor, dim: int, channels_first: bool, num_dims: int) -> tuple[Tensor, Places]:
    """Any supported input -> [batch, n, dim] and where it came from.

    Args:
        x: [batch, *places, dim], [batch, dim, *places], or [batch, dim] for single tokens.
        dim: of the channels.
        channels_first: the channels are dimension 1.
        num_dims: places that x has, 1 for sequences; there single tokens are welcome.

    Raises:
        InputError: another shape or type.

    >>> import torch
    >>> rows, places = to_sequences(torch.zeros(2, 16, 3, 4), 16, True, 2)
    >>> rows.shape, places.restore(rows).shape
    (torch.Size([2, 12, 16]), torch.Size([2, 16, 3, 4]))
    """
    single = num_dims == 1 and x.ndim == 2
    first = channels_first and not single
    fits = x.ndim == num_dims + 2 or single
    if not fits or not x.is_floating_point() or x.shape[1 if first else -1] != dim:
        middle = ", ".join("abc"[:num_dims]) if num_dims > 1 else "n"
        expected = f"[batch, {dim}, {middle}]" if first else f"[batch, {middle}, {dim}]"
        raise InputError(
            f"x: expected floating point {expected}, got {x.dtype} {list(x.shape)}; see "
            "channel_last, accept_image_fmap and accept_3d_fmap"
        )
    last = x.movedim(1, -1) if first else x
    places = Places(tuple(last.shape[1:-1]), first)
    return last.reshape(x.shape[0], 1 if single else -1, dim), places
