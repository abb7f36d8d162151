"""The rotation trick (Fifty et al. 2024, arXiv:2410.06424): a gradient that knows the angle.

The code q of latents e is written as q = a R e, where R is the rotation that takes e / |e| to
q / |q| within their plane and a = |q| / |e|, both held constant.  So the gradient g of q becomes
a R^T g: it keeps its angle to the code, where the straight-through gradient is g itself.
"""

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.ops.padding import Bucket, padding_plan

__all__ = ["rotated_gradient"]


def rotated_gradient(
    grad: Tensor, latents: Tensor, codes: Tensor, layout: CodebookLayout
) -> Tensor:
    """a R^T g per row and quantizer, [B, input_width] in the type of ``codes``.

    With r = (e / |e| + q / |q|) / |..| it is R = I - 2 r r^T + 2 q e^T / (|q| |e|) (equation 4).
    Opposite vectors have no plane; there R = I - 2 e e^T / |e|^2, which takes one to the other as
    well.  Latents of zeros have no direction and pass g on; a code of zeros passes nothing on.

    Args:
        grad: g, [B, input_width].
        latents: e, likewise.
        codes: q, likewise; float32 or float64.
        layout: where columns lie.
    """
    plan = padding_plan(layout, codes.device)
    padded = [_with_zero_column(tensor.to(codes.dtype)) for tensor in (grad, latents, codes)]
    blocks = []
    for bucket in plan.buckets:
        g, e, q = (_block(tensor, bucket) for tensor in padded)
        blocks.append(_rotated(g, e, q).flatten(1))
    return torch.cat(blocks, dim=1).index_select(1, plan.dense_columns)


def _with_zero_column(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_zeros(len(rows), 1)], dim=1)


def _block(rows: Tensor, bucket: Bucket) -> Tensor:
    """[B, columns + 1] -> [B, n, D], zeros where a quantizer has fewer dimensions."""
    picked = rows.index_select(1, bucket.columns)
    return picked.view(len(rows), len(bucket.quantizers), bucket.dim)


def _rotated(g: Tensor, e: Tensor, q: Tensor) -> Tensor:
    """[.., D] each, along the last dimension."""
    e_norm, q_norm = _norm(e), _norm(q)
    e_unit, q_unit = e / e_norm.clamp(min=_tiny(e)), q / q_norm.clamp(min=_tiny(q))
    middle = e_unit + q_unit
    square = _dot(middle, middle)
    along = _dot(middle, g) / square.masked_fill(square == 0, 1.0)
    turned = g - 2.0 * along * middle + 2.0 * _dot(q_unit, g) * e_unit
    return torch.where(e_norm == 0, g, turned * (q_norm / e_norm))


def _norm(values: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1, keepdim=True, dtype=torch.float64)
    return norm.to(values.dtype)


def _dot(one: Tensor, two: Tensor) -> Tensor:
    return (one * two).sum(dim=-1, keepdim=True)


def _tiny(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny
