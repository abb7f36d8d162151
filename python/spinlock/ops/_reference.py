"""The truth that every other backend must equal: plain, in float64, no expansion.

The squared distance of row x to code c is the float64 sum over d, ascending, of
``(double(x_d) - double(c_d))^2``, each difference, product and sum rounded on its own (no fused
multiply-add).  The code with the smallest one is chosen, the lowest index on ties.  A distance
that is NaN (a non-finite code) counts as infinite.
"""

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout

__all__ = ["accumulate_codes", "nearest_codes"]

# Distances held at a time: 8 MiB of float64.
_BLOCK_ELEMENTS = 1 << 20


def nearest_codes(
    latents: Tensor, weight: Tensor, layout: CodebookLayout, usable: Tensor | None
) -> Tensor:
    """int64 [B, Q]: the nearest code of each quantizer; 0 for rows it cannot use.

    Args:
        latents: dense, floating point [B, input_width].
        weight: flat, floating point [weight_size].
        layout: where codebooks and columns lie.
        usable: bool [B, Q] of ``usable_rows``, or None if all are.
    """
    indices = torch.zeros(
        len(latents), layout.num_quantizers, dtype=torch.int64, device=latents.device
    )
    for q in range(layout.num_quantizers):
        rows = latents[:, slice(*layout.input_range(q, q + 1))].to(torch.float64)
        codes = _codebook(weight, layout, q).to(torch.float64)
        block = max(1, _BLOCK_ELEMENTS // len(codes))
        for start in range(0, len(rows), block):
            distances = _squared_distances(rows[start : start + block], codes)
            indices[start : start + block, q] = distances.argmin(dim=1)
    return indices if usable is None else indices.where(usable, 0)


def accumulate_codes(
    latents: Tensor, indices: Tensor, layout: CodebookLayout, usable: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(counts float32 [total_codes], sums float32 [weight_size]) of the usable rows of each code.

    Rows are rounded to float32, added in float64, and the sums rounded to float32.
    """
    counts = torch.zeros(layout.total_codes, dtype=torch.float64, device=latents.device)
    sums = torch.zeros(layout.weight_size, dtype=torch.float64, device=latents.device)
    for q in range(layout.num_quantizers):
        rows = latents[:, slice(*layout.input_range(q, q + 1))]
        chosen = indices[:, q]
        if usable is not None:
            rows, chosen = rows[usable[:, q]], chosen[usable[:, q]]
        rows = rows.to(torch.float32).to(torch.float64)
        codes = slice(*layout.code_range(q, q + 1))
        counts[codes].index_add_(0, chosen, torch.ones_like(chosen, dtype=torch.float64))
        _codebook(sums, layout, q).index_add_(0, chosen, rows)
    return counts.to(torch.float32), sums.to(torch.float32)


def _squared_distances(rows: Tensor, codes: Tensor) -> Tensor:
    """[B, D] and [K, D], both float64 -> [B, K]."""
    distances = rows.new_zeros(len(rows), len(codes))
    for d in range(rows.shape[1]):
        difference = rows[:, d, None] - codes[None, :, d]
        distances += difference * difference
    return distances.nan_to_num_(nan=torch.inf, posinf=torch.inf)


def _codebook(weight: Tensor, layout: CodebookLayout, q: int) -> Tensor:
    """The view [K_q, D_q] of quantizer q in the flat buffer."""
    size, stride, dim = layout.codebook_sizes[q], layout.padded_dims[q], layout.dims[q]
    first = layout.weight_offsets[q]
    return weight[first : first + size * stride].view(size, stride)[:, :dim]
