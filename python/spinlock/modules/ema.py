"""Exponential moving averages of code statistics (van den Oord et al. 2017, appendix A.1)."""

import torch
from torch import Tensor

from spinlock.modules.codebook_views import CodebookViews

__all__ = ["ema_step"]


def ema_step(
    views: CodebookViews,
    batch_counts: Tensor,
    batch_sums: Tensor,
    *,
    decay: float,
    epsilon: float,
) -> None:
    """One step in place: N <- decay N + (1 - decay) n, m <- decay m + (1 - decay) s, c = m / N'.

    N' = (N + epsilon) / (sum N + K epsilon) * sum N, per codebook, smooths the counts for the
    division only and is not written back.  A quantizer with no row in the batch keeps its state.
    Learnable codes have counts only.

    Args:
        views: what to change.
        batch_counts: n, float32 [total_codes], rows of the batch per code.
        batch_sums: s, float32 [weight_size], the sums of those rows.
        decay: 0 <= decay < 1.
        epsilon: > 0, pseudo-rows per code.
    """
    plan = views.plan
    active = plan.sum_by_quantizer(batch_counts) > 0
    rate = ((1.0 - decay) * active.to(batch_counts.dtype))[plan.code_quantizer]
    views.counts.lerp_(batch_counts, rate)
    if views.sums is None:
        return
    element_rate = rate[plan.element_code]
    views.sums.lerp_(batch_sums, element_rate)
    total = plan.sum_by_quantizer(views.counts)
    share = total / (total + plan.sizes * epsilon)
    smoothed = (views.counts + epsilon) * share[plan.code_quantizer]
    updated = views.sums / smoothed[plan.element_code]
    views.weight.copy_(torch.where(element_rate > 0, updated, views.weight))
