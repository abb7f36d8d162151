"""The loss of a call and its parts."""

from typing import NamedTuple

import torch
from torch import Tensor

from spinlock.modules.row_quantizer import RowQuantizer, RowResult

__all__ = ["LossBreakdown", "level_loss"]


class LossBreakdown(NamedTuple):
    """The unweighted terms of the loss, scalars; 0 where a term is off.

    Attributes:
        commitment: mean squared error, or cross entropy.
        codebook_diversity: minus the entropy of the mean assignment.
        orthogonal_reg: mean squared cosine between codes.
        inplace_optimize: always 0.
    """

    commitment: Tensor
    codebook_diversity: Tensor
    orthogonal_reg: Tensor
    inplace_optimize: Tensor


def level_loss(
    result: RowResult, module: RowQuantizer, *, frozen: bool
) -> tuple[Tensor, LossBreakdown]:
    """The weighted loss of one codebook, a scalar, and its terms; both 0 in eval mode.

    Args:
        result: of the call.
        module: whose weights and mode count.
        frozen: learnable codes get no gradient.
    """
    zero = result.commitment.new_zeros(())
    if not module.training:
        return zero, LossBreakdown(zero, zero, zero, zero)
    options = module.regularizers
    commitment = zero
    total = zero
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        total = torch.zeros_like(zero, requires_grad=True)  # so that backward always runs
    if options.diversity > 0:
        total = total + result.diversity * options.diversity
    if options.commitment > 0:
        commitment = result.commitment
        if module.update.learns and not frozen:
            # One term pulls on both sides; its value counts once.
            commitment = commitment + (result.codebook - result.codebook.detach())
        total = total + commitment * options.commitment
    if options.orthogonal > 0:
        total = total + result.orthogonal * options.orthogonal
    return total, LossBreakdown(commitment, result.diversity, result.orthogonal, zero)
