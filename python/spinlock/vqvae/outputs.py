"""What a forward pass gives, and what every quantizer of a model is told."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

from torch import Tensor


class CodebookOptions(TypedDict):
    """Options that every quantizer module takes."""

    decay: float
    commitment_weight: float
    commitment_reduction: Literal["mean", "sum"]
    use_ema: bool
    init: Literal["kmeans", "uniform"]
    seed: int


class VQVAEOutput(NamedTuple):
    """What a forward pass gives.

    Attributes:
        reconstruction: ``[B, N]``.
        indices: int64 ``[B, C * L]``, category-major.
        losses: weighted scalar terms by name; ``total`` is the sum of the others.
    """

    reconstruction: Tensor
    indices: Tensor
    losses: dict[str, Tensor]
