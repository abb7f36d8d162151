"""Views of the state of consecutive codebooks, the unit on which statistics work."""

from functools import lru_cache
from typing import NamedTuple

from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.ops._averages import count_rows
from spinlock.ops.padding import PaddingPlan, padding_plan

__all__ = ["CodebookViews", "codebook_view", "even_codebooks", "slice_layout"]


@lru_cache(maxsize=1024)
def slice_layout(layout: CodebookLayout, start: int, stop: int) -> CodebookLayout:
    """``layout.slice``, remembered, for every step asks for the same few."""
    return layout.slice(start, stop)


def codebook_view(flat: Tensor, layout: CodebookLayout, q: int) -> Tensor:
    """The view [K_q, D_q] of codebook q in a flat buffer [weight_size]."""
    first, stride = layout.weight_offsets[q], layout.padded_dims[q]
    size = layout.codebook_sizes[q]
    return flat[first : first + size * stride].view(size, stride)[:, : layout.dims[q]]


def even_codebooks(flat: Tensor, layout: CodebookLayout) -> Tensor:
    """The view [Q, K, D] of a flat buffer [weight_size], where all codebooks have one size."""
    count, size, stride = layout.num_quantizers, layout.codebook_sizes[0], layout.padded_dims[0]
    if count * size * stride == layout.weight_size:
        return flat.view(count, size, stride)[..., : layout.dims[0]]
    # Codebooks begin at multiples of more than one code.
    block = layout.weight_size // count
    return flat.as_strided((count, size, layout.dims[0]), (block, stride, 1))


class CodebookViews(NamedTuple):
    """State of the codebooks of ``layout``; writing to the tensors writes to their bank.

    Attributes:
        layout: of these codebooks.
        weight: [weight_size], the codes.
        counts: float32 [total_codes], moving average of rows per code and step.
        sums: float32 [weight_size], moving average of their sums; None for learnable codes.
        epoch_counts: int64 [total_codes].
        epoch_skipped: int64 [Q].
        initialized: bool [Q].
    """

    layout: CodebookLayout
    weight: Tensor
    counts: Tensor
    sums: Tensor | None
    epoch_counts: Tensor
    epoch_skipped: Tensor
    initialized: Tensor

    @property
    def plan(self) -> PaddingPlan:
        """The index tensors of the layout on the state's device."""
        return padding_plan(self.layout, self.counts.device)

    def place_codes(self, codebook: int, codes: Tensor, rows: Tensor, count: Tensor) -> None:
        """Overwrites some codes of one codebook and their statistics, consistently.

        Args:
            codebook: position in the layout.
            codes: int64 [m], which.
            rows: float32 [m, D_q], their new places.
            count: scalar, the count each of them starts with.
        """
        weight = codebook_view(self.weight, self.layout, codebook)
        weight[codes] = rows.to(weight.dtype)
        first = self.layout.code_offsets[codebook]
        self.counts[first + codes] = count
        if self.sums is not None:
            codebook_view(self.sums, self.layout, codebook)[codes] = rows * count

    def count_rows(self, rows: Tensor, num_rows: int) -> None:
        """Adds int64 [total_codes], the rows of a batch of ``num_rows``, to the epoch's."""
        count_rows(self.epoch_counts, self.epoch_skipped, rows, num_rows, self.layout)
