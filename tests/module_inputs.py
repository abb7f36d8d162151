"""Rows and options that tests of several modules share."""

import torch
from torch import Tensor

from spinlock import Lookup, Update

UNIFORM = Update(init="uniform")
COSINE = Lookup(similarity="cosine")


def rows(count: int = 48, dim: int = 8, seed: int = 0) -> Tensor:
    """Normal rows ``[count, dim]``."""
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
