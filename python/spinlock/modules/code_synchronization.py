"""Codebooks that several processes train together."""

from torch import Tensor, distributed

from spinlock.distributed.world import several as is_synchronized
from spinlock.modules.shared_statistics import copy_from_first

__all__ = ["copy_from_first", "is_synchronized", "same_everywhere"]


def same_everywhere(drawn: Tensor) -> Tensor:
    """What process 0 drew."""
    distributed.broadcast(drawn, src=0)
    return drawn
