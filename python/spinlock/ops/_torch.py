"""The batched torch backend: equal to the truth on every input, fast enough to train on.

**Certified lookup.** A first pass scores all codes of all quantizers of a bucket by one batched
matrix product; rows whose winner it cannot prove are compared again in the form of the truth.
Write u = 2^-53, g(n) = nu / (1 - nu), mu for any float64 vector (the codebook's mean), a = x - mu
and b_k = c_k - mu for exact differences, y and z_k for their float64 values, R = max_k |z_k|.

1. The truth compares T_k = |x - c_k|^2; the exact score S_k = |b_k|^2 - 2 a.b_k = T_k - |a|^2
   orders codes alike.  y and z_k have componentwise relative errors of at most u, and sums and
   products of D terms in any order, fused or not, add g(D + 2) relative to the sum of absolute
   values.  By Cauchy-Schwarz the computed score s_k obeys
   |s_k - S_k| <= E := g(D + 5) (|y| + R)^2.
2. The truth's own rounding obeys |T'_k - T_k| <= g(D + 2) T_k <= E as well.
3. Let j have the least s, and let the truth choose k.  T'_k <= T'_j gives T_k <= T_j + 2E, hence
   S_k <= S_j + 2E and s_k <= s_j + 4E.

So the truth's choice is among the codes with s_k <= s_j + t for any t >= 4E; with one such code
there is nothing left to decide.  The code takes t = 8 (D + 8) u (|y| + R)^2 + 2^-1022, twice the
bound, which covers the rounding of t itself, and underflow of any term.  NaN and overflow make
the comparison fail, and failing means comparing again, so that every input ends in the truth.
Assumed: products of float64 matrices are computed in float64 by sums of products (no Strassen, no
emulation in lower precision), as BLAS libraries do unless told otherwise.
"""

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.ops.padding import Bucket, padding_plan

__all__ = [
    "accumulate_codes",
    "count_codes",
    "gather_codes",
    "nearest_codes",
    "sum_by_code",
]

# Scores held at a time, 4 MiB of float64: a block that stays in cache.
_BLOCK_ELEMENTS = 1 << 19
_UNIT_ROUNDOFF = 2.0**-53
_UNDERFLOW = 2.0**-1022


def nearest_codes(
    latents: Tensor, weight: Tensor, layout: CodebookLayout, usable: Tensor | None
) -> Tensor:
    """int64 [B, Q]: as the reference, by certified batched products (see the module's text)."""
    plan = padding_plan(layout, latents.device)
    if usable is not None:
        latents = latents.where(usable.index_select(1, plan.column_quantizer), 0.0)
    rows = len(latents)
    columns = latents.new_zeros(layout.input_width + 1, rows, dtype=torch.float64)
    columns[:-1] = latents.t()
    elements = _with_zero(weight.to(torch.float64))
    chosen = torch.empty(layout.num_quantizers, rows, dtype=torch.int64, device=latents.device)
    for bucket in plan.buckets:
        codes = elements.index_select(0, bucket.elements).view(-1, bucket.num_codes, bucket.dim)
        chosen[bucket.quantizers] = _nearest_in_bucket(columns, codes, bucket)
    indices = chosen.t().contiguous()
    return indices if usable is None else indices.where(usable, 0)


def gather_codes(indices: Tensor, weight: Tensor, layout: CodebookLayout) -> Tensor:
    """[B, input_width] in ``weight.dtype``: the chosen codes side by side; differentiable."""
    plan = padding_plan(layout, indices.device)
    elements = _with_zero(weight)
    padded = []
    for bucket in plan.buckets:
        table = elements.index_select(0, bucket.elements).view(-1, bucket.dim)
        ids = _bucket_ids(indices, bucket).reshape(-1)
        width = len(bucket.quantizers) * bucket.dim
        padded.append(table.index_select(0, ids).view(len(indices), width))
    return torch.cat(padded, dim=1).index_select(1, plan.dense_columns)


def accumulate_codes(
    latents: Tensor, indices: Tensor, layout: CodebookLayout, usable: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(counts float32 [total_codes], sums float32 [weight_size]), sums added in float32."""
    counts = count_codes(indices, layout, usable).to(torch.float32)
    return counts, sum_by_code(latents.to(torch.float32), indices, layout, usable)


def count_codes(indices: Tensor, layout: CodebookLayout, usable: Tensor | None) -> Tensor:
    """int64 [total_codes]: the usable rows of each code."""
    ids = indices + padding_plan(layout, indices.device).code_offsets
    if usable is not None:
        ids = ids[usable]
    return torch.bincount(ids.reshape(-1), minlength=layout.total_codes)


def sum_by_code(
    values: Tensor, indices: Tensor, layout: CodebookLayout, usable: Tensor | None
) -> Tensor:
    """[weight_size] in the type of ``values`` [B, input_width]: usable rows added up by code."""
    plan = padding_plan(layout, values.device)
    rows = torch.cat([values, values.new_zeros(len(values), 1)], dim=1)
    sums = []
    for bucket in plan.buckets:
        ids = _bucket_ids(indices, bucket)
        nowhere = len(bucket.quantizers) * bucket.num_codes
        if usable is not None:
            ids = ids.where(usable.index_select(1, bucket.quantizers), nowhere)
        padded = rows.index_select(1, bucket.columns).view(-1, bucket.dim)
        table = values.new_zeros(nowhere + 1, bucket.dim)
        sums.append(table.index_add_(0, ids.reshape(-1), padded)[:nowhere].view(-1))
    return _with_zero(torch.cat(sums)).index_select(0, plan.flat_elements)


def _with_zero(flat: Tensor) -> Tensor:
    """One zero behind the end: what padding positions point at."""
    return torch.cat([flat, flat.new_zeros(1)])


def _bucket_ids(indices: Tensor, bucket: Bucket) -> Tensor:
    """[B, Q] -> [B, n]: rows of the bucket's table of n * K codes."""
    count = len(bucket.quantizers)
    first = torch.arange(count, device=indices.device) * bucket.num_codes
    return indices.index_select(1, bucket.quantizers) + first


def _nearest_in_bucket(columns: Tensor, codes: Tensor, bucket: Bucket) -> Tensor:
    """Columns [input_width + 1, B] and codes [n, K, D], float64 -> int64 [n, B]."""
    count, num_codes, dim = codes.shape
    exists = bucket.code_exists[:, :, None]
    centre = codes.sum(dim=1) / bucket.sizes[:, None]
    centred = codes - centre[:, None, :]
    norms = centred.square().sum(dim=2, keepdim=True)
    radius = norms.where(exists, 0.0).amax(dim=1).sqrt()
    norms = norms.where(exists, torch.inf)
    # One product with the 0/1 matrix of candidates gives their number and the sum of their codes;
    # in float64, for autocast and tf32 round the codes of float32 products.
    code = torch.arange(num_codes, dtype=torch.float64, device=codes.device)
    selectors = torch.stack([torch.ones_like(code), code])
    tolerance = 8.0 * (dim + 8) * _UNIT_ROUNDOFF

    nearest = torch.empty(count, columns.shape[1], dtype=torch.int64, device=codes.device)
    block = max(1, _BLOCK_ELEMENTS // (count * max(num_codes, dim)))
    for start in range(0, columns.shape[1], block):
        stop = start + block
        rows = columns[:, start:stop].index_select(0, bucket.columns).view(count, dim, -1)
        rows -= centre[:, :, None]
        scores = torch.baddbmm(norms, centred, rows, alpha=-2.0)
        reach = rows.square().sum(dim=1).sqrt_() + radius
        limit = scores.amin(dim=1) + (reach.square_() * tolerance + _UNDERFLOW)
        candidates = (scores <= limit[:, None]).to(torch.float64)
        found = torch.matmul(selectors, candidates)
        nearest[:, start:stop] = found[:, 1].to(torch.int64)
        undecided = found[:, 0] != 1.0
        if undecided.any():
            # Negated, so that NaN makes every code a candidate.
            pairs = undecided[:, None] & ~(scores > limit[:, None]) & exists
            _settle(nearest[:, start:stop], columns[:, start:stop], codes, bucket, pairs)
    return nearest


def _settle(nearest: Tensor, columns: Tensor, codes: Tensor, bucket: Bucket, pairs: Tensor) -> None:
    """Writes the truth's choice among the candidates into ``nearest`` [n, B].

    Args:
        nearest: int64 [n, B]; rows without candidates are left as they are.
        columns: uncentred float64 [input_width + 1, B].
        codes: uncentred float64 [n, K, D].
        bucket: the bucket of these codes.
        pairs: bool [n, K, B], the candidates.
    """
    quantizer, row, code = pairs.transpose(1, 2).nonzero(as_tuple=True)
    dense = bucket.columns.view(len(codes), -1)
    distances = torch.zeros(len(code), dtype=torch.float64, device=codes.device)
    for d in range(codes.shape[2]):
        difference = columns[dense[quantizer, d], row] - codes[quantizer, code, d]
        distances += difference * difference
    distances.nan_to_num_(nan=torch.inf, posinf=torch.inf)
    slot = quantizer * nearest.shape[1] + row
    least = distances.new_full((nearest.numel(),), torch.inf)
    least.scatter_reduce_(0, slot, distances, "amin")
    wins = distances == least[slot]
    no_code = codes.shape[1]
    lowest = code.new_full((nearest.numel(),), no_code)
    lowest.scatter_reduce_(0, slot[wins], code[wins], "amin")
    lowest = lowest.view_as(nearest)
    nearest.copy_(torch.where(lowest == no_code, nearest, lowest))
