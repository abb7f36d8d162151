"""Moving codes that nobody uses onto rows that are represented badly."""

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.modules.codebook_views import CodebookViews
from spinlock.modules.sampling import weighted_choice
from spinlock.ops import gather_codes, nearest_codes
from spinlock.ops.padding import padding_plan
from spinlock.ops.usable import usable_rows

__all__ = ["dead_codes", "revive_codes"]


def dead_codes(counts: Tensor, layout: CodebookLayout, threshold: float) -> tuple[Tensor, Tensor]:
    """Codes whose count is below ``threshold`` times the mean of their codebook.

    Args:
        counts: [total_codes].
        layout: of the codebooks.
        threshold: >= 0.

    Returns:
        bool [total_codes], and the mean counts [Q].
    """
    plan = padding_plan(layout, counts.device)
    mean = plan.sum_by_quantizer(counts) / plan.sizes
    return counts < threshold * mean[plan.code_quantizer], mean


def revive_codes(
    views: CodebookViews,
    latents: Tensor,
    threshold: float,
    generator: torch.Generator,
    *,
    backend: str | None = None,
) -> int:
    """Revives the codes that :func:`dead_codes` finds.

    Args:
        views: the codebooks; codes, counts and sums change together.
        latents: [B, input_width].
        threshold: >= 0.
        generator: on the CPU.
        backend: of the lookup.

    Returns:
        how many codes were revived; rows without error are no donors, so it may be fewer than
        there are dead ones.
    """
    layout = views.layout
    dead, mean = dead_codes(views.counts, layout, threshold)
    if not len(latents) or not dead.any():
        return 0
    rows = latents.to(torch.float32)
    errors = _squared_errors(views, rows, backend).to("cpu")
    revived = 0
    for q, size in enumerate(layout.codebook_sizes):
        first = layout.code_offsets[q]
        codes = dead[first : first + size].nonzero().flatten()
        if not len(codes):
            continue
        error = errors[q : q + 1]
        count = min(len(codes), len(latents))
        drawn, by_error = weighted_choice(error, torch.ones_like(error).bool(), count, generator)
        donors = drawn[by_error].to(rows.device)
        columns = slice(*layout.input_range(q, q + 1))
        views.place_codes(q, codes[: len(donors)], rows[donors, columns], mean[q])
        revived += len(donors)
    return revived


def _squared_errors(views: CodebookViews, rows: Tensor, backend: str | None) -> Tensor:
    """float64 [Q, B]: squared distance of each row to its code; 0 for rows that are skipped."""
    plan = views.plan
    indices = nearest_codes(rows, views.weight, views.layout, backend=backend)
    codes = gather_codes(indices, views.weight, views.layout)
    squares = (rows.to(torch.float64) - codes.to(torch.float64)).square_()
    errors = squares.new_zeros(views.layout.num_quantizers, len(rows))
    errors.index_add_(0, plan.column_quantizer, squares.t())
    usable = usable_rows(rows, views.layout)
    return errors if usable is None else errors.where(usable.t(), 0.0)
