"""The rule for non-finite rows, the same for every backend."""

import math

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.ops.padding import padding_plan

__all__ = ["usable_rows"]


def usable_rows(latents: Tensor, layout: CodebookLayout) -> Tensor | None:
    """bool [B, Q], or None where every row can be used by every quantizer.

    A row can be used by quantizer q if its D_q values are finite as float32, the type of the
    statistics.  A row that cannot gets index 0 and enters neither losses nor statistics nor
    counters; the other quantizers use their part of it as ever.
    """
    values = latents.detach().to(torch.float32)
    if values.numel() == 0:
        return None
    low, high = torch.aminmax(values)  # NaN and infinities propagate: one pass where all is well
    if math.isfinite((high - low).item()):
        return None
    plan = padding_plan(layout, latents.device)
    damaged = torch.zeros(len(latents), layout.num_quantizers, device=latents.device)
    damaged.index_add_(1, plan.column_quantizer, (~values.isfinite()).to(damaged.dtype))
    return damaged == 0
