"""What quantizer modules return."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from spinlock.layout import CodebookLayout
from spinlock.ops.padding import padding_plan

__all__ = [
    "QuantizerLosses",
    "QuantizerOutput",
    "QuantizerUsage",
    "UsageSummary",
    "summarise_usage",
]


class QuantizerLosses(NamedTuple):
    """Losses in float32, or float64 where the latents or learnable codebooks are.

    Attributes:
        total: scalar, what to add to the model's loss: ``commitment_weight`` times the commitment
            terms reduced over quantizers; with learnable codebooks plus the codebook terms
            reduced alike.
        commitment: [Q], per quantizer the mean over rows and dims of (x - stop_gradient(c))^2.
        codebook: [Q], the same values; their gradient goes to learnable codebooks.
    """

    total: Tensor
    commitment: Tensor
    codebook: Tensor


class QuantizerUsage(NamedTuple):
    """Which codes one batch used.

    Attributes:
        counts: int64 [total_codes], rows that chose each code; codebook after codebook, in the
            order of the columns of ``indices``.
    """

    counts: Tensor


class QuantizerOutput(NamedTuple):
    """What a quantizer module returns.

    Attributes:
        quantized: the latents' shape and dtype; its gradient goes straight through to them.
        indices: int64 [..., Q], the codes chosen, before the update of this step.
        losses: :class:`QuantizerLosses`.
        usage: :class:`QuantizerUsage`.
    """

    quantized: Tensor
    indices: Tensor
    losses: QuantizerLosses
    usage: QuantizerUsage


class UsageSummary(NamedTuple):
    """How codebooks were used since the last reset; all zero (and all dead) before any row.

    Attributes:
        utilization: float64 [Q], share of the codes chosen at least once, 0..1.
        perplexity: float64 [Q], exp of the entropy (nats) of the code frequencies, 1..K_q.
        dead: codes of all quantizers never chosen.
        skipped: int64 [Q], rows that were not finite.
    """

    utilization: Tensor
    perplexity: Tensor
    dead: int
    skipped: Tensor


for _output in (QuantizerLosses, QuantizerUsage, QuantizerOutput, UsageSummary):
    # Exported programs that return them could not be saved otherwise.
    pytree._register_namedtuple(
        _output, serialized_type_name=f"spinlock.modules.{_output.__name__}"
    )


def summarise_usage(counts: Tensor, skipped: Tensor, layout: CodebookLayout) -> UsageSummary:
    """Utilization, perplexity and dead codes of the counts of one epoch.

    Args:
        counts: int64 [total_codes], in the order of global code ids.
        skipped: int64 [Q].
        layout: whose codes are counted.

    >>> layout = CodebookLayout(codebook_sizes=(4, 2), dims=(1, 1))
    >>> usage = summarise_usage(torch.tensor([5, 5, 0, 0, 9, 1]), torch.tensor([0, 0]), layout)
    >>> usage.utilization.tolist(), usage.dead
    ([0.5, 1.0], 2)
    >>> usage.perplexity  # two codes used alike; 0.9 and 0.1
    tensor([2.0000, 1.3841], dtype=torch.float64)
    """
    plan = padding_plan(layout, counts.device)
    rows = plan.sum_by_quantizer(counts)
    used = plan.sum_by_quantizer((counts > 0).to(torch.int64))
    frequency = counts.to(torch.float64) / rows.clamp(min=1)[plan.code_quantizer]
    entropy = -plan.sum_by_quantizer(torch.xlogy(frequency, frequency))
    return UsageSummary(
        utilization=used.to(torch.float64) / plan.sizes,
        perplexity=entropy.exp().where(rows > 0, 0.0),
        dead=int((counts == 0).sum()),
        skipped=skipped,
    )
