"""Moving averages on views of a bank; see :mod:`spinlock.ops._averages`."""

from torch import Tensor

from spinlock.modules.codebook_views import CodebookViews
from spinlock.ops._averages import move_averages

__all__ = ["ema_step"]


def ema_step(
    views: CodebookViews,
    batch_counts: Tensor,
    batch_sums: Tensor,
    *,
    decay: float,
    epsilon: float,
) -> None:
    """One step of :func:`spinlock.ops._averages.move_averages` in place; learnable codes stay.

    Args:
        views: what to change.
        batch_counts: float32 [total_codes], rows of the batch per code.
        batch_sums: float32 [weight_size], the sums of those rows.
        decay: 0 <= decay < 1.
        epsilon: > 0, pseudo-rows per code.
    """
    move_averages(
        views.weight,
        views.layout,
        views.counts,
        views.sums,
        batch_counts,
        batch_sums,
        decay=decay,
        epsilon=epsilon,
    )
