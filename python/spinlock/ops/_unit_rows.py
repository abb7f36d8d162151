"""Rows scaled to length 1 within every quantizer's columns: what cosine lookup compares."""

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.ops._steps import working_dtype
from spinlock.ops._validate import check_latents

__all__ = ["unit_rows"]


def unit_rows(latents: Tensor, layout: CodebookLayout) -> Tensor:
    """x / |x| per row and quantizer; differentiable.

    Args:
        latents: [B, input_width], any floating dtype.
        layout: where columns lie.

    Returns:
        [B, input_width] in float32, or float64 where the latents are.  Rows of zeros stay zeros;
        rows that are not finite become NaN, without gradient.

    Raises:
        InputError: latents that do not fit the layout.

    >>> unit_rows(torch.tensor([[3.0, 4.0, -2.0]]), CodebookLayout((1, 1), (2, 1)))
    tensor([[ 0.6000,  0.8000, -1.0000]])
    """
    check_latents(latents, layout)
    rows = latents.to(working_dtype(latents))
    if len(set(layout.dims)) == 1:
        blocks = rows.reshape(rows.shape[0], layout.num_quantizers, layout.dims[0])
        return _unit(blocks).reshape(rows.shape)
    parts = torch.split(rows, list(layout.dims), dim=1)
    return torch.cat([_unit(part) for part in parts], dim=1)


def _unit(rows: Tensor) -> Tensor:
    finite = rows.isfinite().all(dim=-1, keepdim=True)
    clean = rows.where(finite, 0.0)  # so that the gradient of such rows is 0, not NaN
    # Squares of float32 neither overflow nor vanish in float64.
    norm: Tensor = torch.linalg.vector_norm(clean, dim=-1, keepdim=True, dtype=torch.float64)
    unit = (clean / norm.masked_fill(norm == 0, 1.0)).to(rows.dtype)
    return unit.where(finite, torch.nan)
