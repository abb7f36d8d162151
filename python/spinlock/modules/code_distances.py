"""Similarities of rows to all codes, for what needs more than the nearest one."""

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.modules.codebook_views import even_codebooks
from spinlock.ops._precision import full_precision
from spinlock.ops._steps import working_dtype
from spinlock.ops._traced import is_traced

__all__ = ["code_scores", "draw_codes", "nearest_k", "soft_codes"]

# Under the root of a squared distance, so that its gradient stays finite.
_SMALLEST_SQUARE = 1e-8
_SMALLEST_LOG = 1e-20
# Scores held at once where no gradient needs them all.
_BLOCK = 1 << 24


def code_scores(rows: Tensor, weight: Tensor, layout: CodebookLayout, cosine: bool) -> Tensor:
    """[B, Q, K] of Q codebooks of one size: minus the distance, or the cosine; differentiable.

    Args:
        rows: [B, Q * D]; rows that are not finite are taken as zeros.
        weight: [weight_size].
        layout: Q codebooks of one size and dim.
        cosine: rows and codes have length 1.

    >>> layout = CodebookLayout((2,), (2,))
    >>> weight = torch.from_numpy(layout.pack_codebooks([[[3.0, 4.0], [0.0, 0.0]]]))
    >>> code_scores(torch.tensor([[3.0, 0.0]]), weight, layout, False)
    tensor([[[-4., -3.]]])
    """
    count, dim = layout.num_quantizers, layout.dims[0]
    wide = working_dtype(rows, weight)
    places = rows.to(wide).view(rows.shape[0], count, dim)
    places = places.where(places.isfinite().all(dim=-1, keepdim=True), 0.0)
    codes = even_codebooks(weight, layout).to(wide)
    if cosine:
        # A copy: codes may change in place before the backward pass.
        return _products(places, codes.clone())
    # Around the codebook's mean, so that the expanded square keeps its digits.
    centre = codes.detach().mean(dim=1)
    places, codes = places - centre, codes - centre[:, None]
    products = _products(places, codes)
    squares = places.square().sum(dim=-1)[..., None] + codes.square().sum(dim=-1)
    return -(squares - 2.0 * products).clamp(min=_SMALLEST_SQUARE).sqrt()


def _products(places: Tensor, codes: Tensor) -> Tensor:
    with full_precision(places):
        return torch.einsum("bqd,qkd->bqk", places, codes)


def draw_codes(scores: Tensor, temperature: float) -> Tensor:
    """int64 [..]: codes drawn from softmax(scores [.., K] / temperature), by Gumbel noise."""
    noise = torch.zeros_like(scores).uniform_(0, 1)
    return (scores / temperature + _gumbel(noise)).argmax(dim=-1)


def _gumbel(uniform: Tensor) -> Tensor:
    inner = -uniform.clamp(min=_SMALLEST_LOG).log()
    return -inner.clamp(min=_SMALLEST_LOG).log()


def soft_codes(
    scores: Tensor, indices: Tensor, weight: Tensor, layout: CodebookLayout, temperature: float
) -> Tensor:
    """[B, Q * D]: the codes of the indices [B, Q] with the gradient of the softmax of scores."""
    count, size, dim = layout.num_quantizers, layout.codebook_sizes[0], layout.dims[0]
    chosen = torch.nn.functional.one_hot(indices, size).to(scores.dtype)
    soft = (scores / temperature).softmax(dim=-1)
    codes = even_codebooks(weight, layout).to(scores.dtype).clone()
    with full_precision(scores):
        mixed = torch.einsum("bqk,qkd->bqd", chosen + soft - soft.detach(), codes)
    return mixed.reshape(indices.shape[0], count * dim)


@torch.no_grad()
def nearest_k(
    rows: Tensor, weight: Tensor, layout: CodebookLayout, cosine: bool, count: int
) -> Tensor:
    """int64 [B, Q, count]: the nearest codes, the best first; compared again in float64.

    >>> layout = CodebookLayout((3,), (1,))
    >>> weight = torch.from_numpy(layout.pack_codebooks([[[0.0], [1.0], [2.0]]]))
    >>> nearest_k(torch.tensor([[1.2]]), weight, layout, False, 2)
    tensor([[[1, 2]]])
    """
    quantizers, size, dim = layout.num_quantizers, layout.codebook_sizes[0], layout.dims[0]
    codes = even_codebooks(weight, layout).to(torch.float64)
    owner = torch.arange(quantizers, device=rows.device)[:, None]
    step = max(1, _BLOCK // (quantizers * size))
    blocks = (rows,) if is_traced(rows, weight) else torch.split(rows, step)
    found = []
    for block in blocks:
        kept = code_scores(block, weight, layout, cosine).topk(count, dim=-1).indices
        kept = kept.sort(dim=-1).values  # so that the lowest index wins ties
        places = block.to(torch.float64).view(block.shape[0], quantizers, 1, dim)
        away = (places - codes[owner, kept]).square().sum(dim=-1)
        order = away.argsort(dim=-1, stable=True)
        found.append(kept.gather(-1, order))
    return torch.cat(found)
