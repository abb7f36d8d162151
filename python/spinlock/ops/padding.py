"""Index tensors that turn ragged rows and codebooks into padded blocks and back.

Quantizers of like size share a *bucket*, a padded block ``[n, K, D]`` on which one batched
operation serves all n of them.  Everything here depends on the layout alone, so it is built once
and cached.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout

__all__ = ["Bucket", "PaddingPlan", "padding_plan"]

# What one more bucket costs, as padded code elements of a batch of some hundred rows.
_BUCKET_OVERHEAD = 4096


@dataclass(frozen=True)
class Bucket:
    """n quantizers padded to K codes of D dimensions; all tensors are int64 on one device.

    Attributes:
        quantizers: their positions in the layout, [n].
        num_codes: K, the largest codebook of the bucket.
        dim: D, the largest dimension of the bucket.
        sizes: codes of each, [n].
        columns: dense column of each padded column, [n * D]; ``input_width`` stands for a zero.
        elements: weight element of each padded code element, [n * K * D]; ``weight_size`` stands
            for a zero.
    """

    quantizers: Tensor
    num_codes: int
    dim: int
    sizes: Tensor
    columns: Tensor
    elements: Tensor

    @property
    def code_exists(self) -> Tensor:
        """bool [n, K]: False where a code is padding."""
        return torch.arange(self.num_codes, device=self.sizes.device) < self.sizes[:, None]


@dataclass(frozen=True)
class PaddingPlan:
    """The buckets of a layout, and the way back; all tensors are int64 on one device.

    "Padded columns" and "padded elements" count through the buckets one after the other.

    Attributes:
        buckets: every quantizer is in exactly one.
        dense_columns: padded column of each dense column, [input_width].
        flat_elements: padded element of each weight element, [weight_size]; the number of padded
            elements stands for a zero (alignment padding).
        column_quantizer: quantizer of each dense column, [input_width].
        code_quantizer: quantizer of each global code id, [total_codes].
        element_code: global code id of each weight element, [weight_size]; 0 for padding.
        sizes, dims, code_offsets: the layout's tuples as tensors, [Q].
    """

    buckets: tuple[Bucket, ...]
    dense_columns: Tensor
    flat_elements: Tensor
    column_quantizer: Tensor
    code_quantizer: Tensor
    element_code: Tensor
    sizes: Tensor
    dims: Tensor
    code_offsets: Tensor

    def sum_by_quantizer(self, per_code: Tensor) -> Tensor:
        """[total_codes] -> [Q]: the sum over each codebook."""
        sums = per_code.new_zeros(self.sizes.shape[0])
        return sums.index_add_(0, self.code_quantizer, per_code)


@lru_cache(maxsize=256)
def padding_plan(layout: CodebookLayout, device: torch.device) -> PaddingPlan:
    """The cached plan of a layout on a device; it holds about ``2 * weight_size`` integers."""
    # Index tensors made under inference_mode could not be saved for a later backward pass.
    with torch.inference_mode(False), device:
        return _build(layout)


def _build(layout: CodebookLayout) -> PaddingPlan:
    groups = _partition(layout.codebook_sizes, layout.dims)
    buckets = tuple(_bucket(layout, members) for members in groups)
    dims = torch.tensor(layout.dims)
    sizes = torch.tensor(layout.codebook_sizes)
    quantizers = torch.arange(layout.num_quantizers)
    return PaddingPlan(
        buckets=buckets,
        dense_columns=_inverse(torch.cat([b.columns for b in buckets]), layout.input_width),
        flat_elements=_inverse(torch.cat([b.elements for b in buckets]), layout.weight_size),
        column_quantizer=quantizers.repeat_interleave(dims),
        code_quantizer=quantizers.repeat_interleave(sizes),
        element_code=_element_codes(layout),
        sizes=sizes,
        dims=dims,
        code_offsets=torch.tensor(layout.code_offsets),
    )


def _bucket(layout: CodebookLayout, members: Sequence[int]) -> Bucket:
    quantizers = torch.tensor(members)
    sizes = torch.tensor(layout.codebook_sizes)[quantizers]
    dims = torch.tensor(layout.dims)[quantizers]
    code = torch.arange(int(sizes.max()))
    dim = torch.arange(int(dims.max()))
    real_dim = dim < dims[:, None]
    first_column = torch.tensor(layout.input_offsets)[quantizers]
    columns = torch.where(real_dim, first_column[:, None] + dim, layout.input_width)
    stride = torch.tensor(layout.padded_dims)[quantizers]
    first_element = torch.tensor(layout.weight_offsets)[quantizers]
    elements = first_element[:, None, None] + code[:, None] * stride[:, None, None] + dim
    real = (code < sizes[:, None])[:, :, None] & real_dim[:, None, :]
    return Bucket(
        quantizers=quantizers,
        num_codes=code.numel(),
        dim=dim.numel(),
        sizes=sizes,
        columns=columns.reshape(-1),
        elements=torch.where(real, elements, layout.weight_size).reshape(-1),
    )


def _inverse(padded_to_flat: Tensor, size: int) -> Tensor:
    """[P] positions in 0..size (size = zero) -> [size] positions in 0..P (P = zero)."""
    padded = padded_to_flat.numel()
    inverse = torch.full((size + 1,), padded)
    inverse[padded_to_flat] = torch.arange(padded)
    return inverse[:size].clone()


def _element_codes(layout: CodebookLayout) -> Tensor:
    codes = torch.zeros(layout.weight_size, dtype=torch.int64)
    for q in range(layout.num_quantizers):
        size, stride = layout.codebook_sizes[q], layout.padded_dims[q]
        first, ids = layout.weight_offsets[q], layout.code_offsets[q] + torch.arange(size)
        codes[first : first + size * stride] = ids.repeat_interleave(stride)
    return codes


def _partition(sizes: Sequence[int], dims: Sequence[int]) -> list[list[int]]:
    """Groups of like quantizers: the cheaper of the best splits of the two sorted orders.

    A group costs ``n * max K * max D`` plus a constant, so that little groups merge and a few
    wide quantizers do not inflate the rest.

    >>> _partition([8] * 4 + [1024], [4, 4, 4, 6, 64])
    [[4], [3, 0, 1, 2]]
    """
    positions = range(len(sizes))
    by_dim = sorted(positions, key=lambda q: (-dims[q], -sizes[q], q))
    by_size = sorted(positions, key=lambda q: (-sizes[q], -dims[q], q))
    return min(_best_split(order, sizes, dims) for order in (by_dim, by_size))[1]


def _best_split(
    order: Sequence[int], sizes: Sequence[int], dims: Sequence[int]
) -> tuple[int, list[list[int]]]:
    """(cost, groups) of the cheapest split of ``order`` into consecutive groups, exactly."""
    best_cost, best_start = [0], [0]
    for stop in range(1, len(order) + 1):
        # Groups that end before `stop`, grown backwards so that both maxima are running ones.
        backwards = order[stop - 1 :: -1]
        widths = accumulate((dims[q] for q in backwards), max)
        heights = accumulate((sizes[q] for q in backwards), max)
        cost, length = min(
            (best_cost[stop - n] + n * width * height + _BUCKET_OVERHEAD, n)
            for n, (width, height) in enumerate(zip(widths, heights, strict=True), start=1)
        )
        best_cost.append(cost)
        best_start.append(stop - length)
    groups: list[list[int]] = []
    stop = len(order)
    while stop > 0:
        groups.append(list(order[best_start[stop] : stop]))
        stop = best_start[stop]
    return best_cost[-1], groups[::-1]
