"""First codebooks: uniform, or k-means++ followed by some Lloyd steps."""

import math

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.modules.codebook_views import CodebookViews, codebook_view
from spinlock.modules.sampling import sample_rows, weighted_choice
from spinlock.ops import accumulate_codes, nearest_codes
from spinlock.ops._averages import normalize_codes
from spinlock.ops.padding import padding_plan
from spinlock.ops.usable import usable_rows

__all__ = ["default_device", "initialize_codebooks", "kmeans_codes", "uniform_codes"]

_LLOYD_STEPS = 6
# Up to this many codes are drawn one by one; larger codebooks draw several codes in each round.
_MAX_ROUNDS = 256
# Squared distances below this share of the squared norms are rounding: the row is taken already.
_SAME_ROW = 1e-12
# Spread of the copies that fill a codebook, as a share of each dimension's standard deviation.
_JITTER = 0.01


def default_device() -> torch.device:
    """Where factories of torch make tensors now, also within ``with torch.device(..)``."""
    # `torch.get_default_device` of torch 2.6 does not see such a block.
    return torch.empty(0).device


def uniform_codes(layout: CodebookLayout, generator: torch.Generator) -> Tensor:
    """float32 [weight_size] on the CPU: codes uniform in +-1 / K_q (van den Oord et al. 2017)."""
    codebooks = []
    for size, dim in zip(layout.codebook_sizes, layout.dims, strict=True):
        unit = torch.rand(size, dim, generator=generator, dtype=torch.float32, device="cpu")
        codebooks.append(((2.0 * unit - 1.0) / size).numpy())
    return torch.from_numpy(layout.pack_codebooks(codebooks))


def initialize_codebooks(
    views: CodebookViews,
    latents: Tensor,
    generator: torch.Generator,
    *,
    max_rows: int,
    first: int = 0,
    only_missing: bool = False,
    unit_codes: bool = False,
    backend: str | None = None,
) -> None:
    """Sets codes by :func:`kmeans_codes`; counts become rows / K_q and sums code * count.

    Args:
        views: the codebooks, changed in place.
        latents: [B, input_width].
        generator: on the CPU.
        max_rows: rows drawn from the latents.
        first: number of the first codebook, for messages.
        only_missing: leave codebooks alone that are initialised already, and those that have no
            usable row in ``latents``.
        unit_codes: codes are scaled to length 1.
        backend: as in :func:`spinlock.ops.nearest_codes`.

    Raises:
        InputError: a quantizer without any finite row, unless ``only_missing``.
    """
    rows = sample_rows(latents, max_rows, generator).to("cpu", torch.float32)
    usable = usable_rows(rows, views.layout)
    all_rows = torch.full_like(views.plan.sizes, len(rows), device="cpu")
    num_rows = all_rows if usable is None else usable.sum(dim=0)
    wanted = num_rows > 0
    if only_missing:
        wanted &= ~views.initialized.cpu()
    elif not wanted.all():
        empty = (first + (~wanted).nonzero().flatten()).tolist()
        raise InputError(
            "latents: expected at least one finite row for each quantizer, got none for "
            f"{empty} in a batch of {len(latents)}; pass training rows, and look for NaN"
        )
    if not wanted.any():
        return
    codes = kmeans_codes(rows, views.layout, generator, backend=backend)
    if unit_codes:
        normalize_codes(codes, views.layout)
    for q in wanted.nonzero().flatten().tolist():
        size = views.layout.codebook_sizes[q]
        placed = codebook_view(codes, views.layout, q).to(views.counts)
        every = torch.arange(size, device=placed.device)
        views.place_codes(q, every, placed, num_rows[q].to(placed) / size)
        views.initialized[q] = True


def kmeans_codes(
    latents: Tensor,
    layout: CodebookLayout,
    generator: torch.Generator,
    *,
    backend: str | None = None,
) -> Tensor:
    """float32 [weight_size]: k-means++ seeds (Arthur and Vassilvitskii 2007) and 6 Lloyd steps.

    All quantizers are seeded together.  Codes are drawn one at a time with probability
    proportional to the squared distance to the codes so far; a codebook of more than 256 codes
    draws ceil(K / 256) of them per round.  If a quantizer has fewer distinct rows than codes, the
    codes left over are copies of random rows moved by 1% of each dimension's standard deviation
    (by nothing where all rows are equal: such duplicates are never chosen until revived).  The
    result depends on the rows and the generator alone.

    Args:
        latents: float32 [B, input_width] on the CPU, B >= 1.  Rows that a quantizer cannot use
            are left out there; codes of a quantizer without any usable row mean nothing.
        layout: where codebooks and columns lie.
        generator: on the CPU.
        backend: runs the Lloyd steps.
    """
    plan = padding_plan(layout, latents.device)
    usable = usable_rows(latents, layout)
    if usable is None:
        usable = torch.ones(len(latents), layout.num_quantizers, dtype=torch.bool)
    clean = latents.where(usable.index_select(1, plan.column_quantizer), 0.0)
    columns = clean.new_zeros(layout.input_width + 1, len(latents), dtype=torch.float64)
    columns[:-1] = clean.t()
    padded = []
    for bucket in plan.buckets:
        rows = columns.index_select(0, bucket.columns).view(-1, bucket.dim, len(latents))
        allowed = usable.index_select(1, bucket.quantizers).t()
        padded.append(_plus_plus(rows, allowed, bucket.num_codes, generator).reshape(-1))
    padded.append(columns.new_zeros(1))
    weight = torch.cat(padded).index_select(0, plan.flat_elements).to(torch.float32)
    for _ in range(_LLOYD_STEPS):
        indices = nearest_codes(latents, weight, layout, backend=backend)
        counts, sums = accumulate_codes(latents, indices, layout, backend=backend)
        members = counts[plan.element_code]
        weight = torch.where(members > 0, sums / members.clamp(min=1.0), weight)
    return weight


def _plus_plus(rows: Tensor, allowed: Tensor, num_codes: int, generator: torch.Generator) -> Tensor:
    """Rows float64 [n, D, B], allowed bool [n, B] -> codes float64 [n, num_codes, D]."""
    num_rows = rows.shape[2]
    weights = allowed.to(rows.dtype)  # the first code is uniform
    members = weights.sum(dim=1).clamp_(min=1.0)[:, None, None]
    mean = (rows * weights[:, None]).sum(dim=2, keepdim=True) / members
    centred = (rows - mean) * weights[:, None]
    jitter = _JITTER * (centred.square().sum(dim=2, keepdim=True) / members).sqrt()
    norms = centred.square().sum(dim=1)[:, None]
    error = torch.full_like(weights, torch.inf)
    per_round = min(num_rows, math.ceil(num_codes / _MAX_ROUNDS))
    codes: list[Tensor] = []
    for drawn in range(0, num_codes, per_round):
        count = min(per_round, num_codes - drawn)
        chosen, by_weight = weighted_choice(weights, allowed, count, generator)
        picked = centred.gather(2, chosen[:, None].expand(-1, rows.shape[1], -1))
        if not by_weight.all():
            noise = torch.randn(picked.shape, generator=generator, dtype=rows.dtype)
            picked = picked + noise * jitter * ~by_weight[:, None]
        codes.append(picked)
        picked_norms = picked.square().sum(dim=1)[:, :, None]
        distances = torch.baddbmm(norms + picked_norms, picked.transpose(1, 2), centred, alpha=-2.0)
        distances.masked_fill_(distances <= _SAME_ROW * (norms + picked_norms), 0.0)
        error = torch.minimum(error, distances.amin(dim=1))
        weights = error * allowed
    return (torch.cat(codes, dim=2) + mean).transpose(1, 2)
