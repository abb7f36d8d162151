"""From the tensors that users have to rows, and back."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.modules.vq_options import Shapes
from spinlock.ops._validate import check_tensor

__all__ = ["Placement", "length_mask", "place_rows", "restore_indices", "restore_rows"]


class Placement(NamedTuple):
    """Where the rows of one call came from.

    Attributes:
        lead: leading dimensions, channels last: [*places].
        channels_first: whether the channels were dimension 1.
    """

    lead: tuple[int, ...]
    channels_first: bool


def place_rows(tensor: Tensor, dim: int, shapes: Shapes) -> tuple[Tensor, Placement]:
    """[*places, dim], or [batch, dim, *places], -> rows [N, dim].

    Raises:
        InputError: another shape or type.
    """
    check_tensor("x", tensor)
    axis = 1 if shapes.channels_first and tensor.ndim > 1 else -1
    if not tensor.is_floating_point() or tensor.ndim == 0 or tensor.shape[axis] != dim:
        expected = f"[batch, {dim}, *places]" if shapes.channels_first else f"[*places, {dim}]"
        raise InputError(
            f"x: expected floating point {expected}, got {tensor.dtype} {list(tensor.shape)}; "
            "set shapes=Shapes(channels_first=..) to what your tensors are"
        )
    last = tensor.movedim(1, -1) if axis == 1 else tensor
    return last.reshape(-1, dim), Placement(last.shape[:-1], axis == 1)


def restore_rows(rows: Tensor, placement: Placement) -> Tensor:
    """[N, dim] -> the shape that :func:`place_rows` was given."""
    last = rows.reshape(*placement.lead, rows.shape[-1])
    return last.movedim(-1, 1) if placement.channels_first else last


def restore_indices(indices: Tensor, placement: Placement) -> Tensor:
    """[N, H] -> [*places], or [*places, H] for several heads."""
    if indices.shape[1] == 1:
        return indices.reshape(placement.lead)
    return indices.reshape(*placement.lead, indices.shape[1])


def length_mask(
    placement: Placement, mask: Tensor | None, lengths: Tensor | None, *, squeeze: bool = True
) -> Tensor | None:
    """bool [N], or None where nothing is masked.

    Args:
        placement: of the rows.
        mask: bool of the places' shape.
        lengths: int [batch]; the first so many places of the second dimension are rows.
        squeeze: return it flat; otherwise in the places' shape.

    Raises:
        InputError: both, or one that does not fit.
    """
    if mask is not None and lengths is not None:
        raise InputError("mask, lengths: expected at most one, got both; leave one away")
    lead = placement.lead
    if lengths is not None:
        check_tensor("lengths", lengths)
        whole = not (lengths.is_floating_point() or lengths.is_complex())
        if len(lead) != 2 or lengths.shape != lead[:1] or not whole:
            raise InputError(
                f"lengths: expected shape {list(lead[:1])} of integers with rows "
                f"[batch, time, dim], got {lengths.dtype} {list(lengths.shape)} with places "
                f"{list(lead)}; pass a mask instead"
            )
        mask = torch.arange(lead[1], device=lengths.device) < lengths.unsqueeze(1)
    if mask is None:
        return None
    check_tensor("mask", mask)
    if mask.dtype is not torch.bool or mask.shape != lead:
        raise InputError(
            f"mask: expected torch.bool of shape {list(lead)}, got {mask.dtype} "
            f"{list(mask.shape)}; it is True where a row is one"
        )
    return mask.reshape(math.prod(lead)) if squeeze else mask
