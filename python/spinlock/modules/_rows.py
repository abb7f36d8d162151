"""Leading dimensions and lists of parts in, plain rows out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.ops._validate import check_tensor

__all__ = ["index_rows", "latent_rows", "masked_rows"]


def latent_rows(latents: Tensor | Sequence[Tensor], widths: Sequence[int]) -> Tensor:
    """[..., sum of widths], or a list of [..., width], -> [B, sum of widths].

    Raises:
        InputError: another last dimension, or parts that do not fit together.
    """
    joined = latents if isinstance(latents, Tensor) else _join(latents, widths)
    total = sum(widths)
    if joined.ndim == 2 and joined.shape[1] == total:
        return joined
    if joined.ndim == 0 or joined.shape[-1] != total:
        raise InputError(
            f"latents: expected shape [..., {total}] ({len(widths)} parts side by side), got "
            f"{list(joined.shape)}; pass the latents this quantizer was built for"
        )
    return joined.reshape(-1, total)


def masked_rows(rows: Tensor, mask: Tensor, lead: torch.Size) -> Tensor:
    """Rows [B, width] with NaN, which no quantizer uses, where ``mask`` is False.

    Raises:
        InputError: a mask that is not bool of shape ``lead``, the leading dimensions.
    """
    check_tensor("mask", mask)
    if mask.dtype is not torch.bool or mask.shape != lead:
        raise InputError(
            f"mask: expected torch.bool of shape {list(lead)} (the latents' leading dimensions), "
            f"got {mask.dtype} {list(mask.shape)}; from lengths: torch.arange(T) < lengths[:, None]"
        )
    return rows.masked_fill(~mask.reshape(-1, 1), torch.nan)


def index_rows(indices: Tensor, width: int) -> Tensor:
    """[..., width] -> [B, width].

    Raises:
        InputError: no tensor, or another last dimension.
    """
    check_tensor("indices", indices)
    if indices.ndim == 0 or indices.shape[-1] != width:
        raise InputError(
            f"indices: expected shape [..., {width}] (one per codebook), got "
            f"{list(indices.shape)}; pass indices as forward returns them"
        )
    return indices.reshape(-1, width)


def _join(parts: Sequence[Tensor], widths: Sequence[int]) -> Tensor:
    if len(parts) != len(widths):
        raise InputError(
            f"latents: expected a list of {len(widths)} tensors, got {len(parts)}; "
            "pass one per part, in order"
        )
    for position, (part, width) in enumerate(zip(parts, widths, strict=True)):
        if not isinstance(part, Tensor) or part.ndim == 0 or part.shape[-1] != width:
            got = list(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise InputError(
                f"latents[{position}]: expected a tensor [..., {width}], got {got}; "
                "pass parts of the widths this quantizer was built for"
            )
        if part.shape[:-1] != parts[0].shape[:-1]:
            raise InputError(
                f"latents[{position}]: expected leading dimensions {list(parts[0].shape[:-1])} "
                f"like the first part, got {list(part.shape[:-1])}; pass parts of one batch"
            )
    return torch.cat(list(parts), dim=-1)
