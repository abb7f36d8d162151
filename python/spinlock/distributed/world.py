"""The processes that train together, and the few things that they send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from spinlock.errors import SpinlockError

__all__ = ["TRAFFIC", "Traffic", "World", "WorldError", "add_up", "several"]


@dataclass
class Traffic:
    """What this process has sent.

    Attributes:
        messages: sums and copies of tensors.
        sent_bytes: size of those tensors.
    """

    messages: int = 0
    sent_bytes: int = 0


TRAFFIC = Traffic()
# Of this build of torch; every train step asks.
_AVAILABLE = distributed.is_available()


class WorldError(SpinlockError):
    """Processes that cannot find each other, or of which one has ended."""


def several(wanted: bool | None = None) -> bool:
    """Whether processes share what they learn; None: where there are several of them.

    >>> several()
    False
    """
    if wanted is False or not _AVAILABLE:
        return False
    return bool(distributed.is_initialized() and distributed.get_world_size() > 1)


def add_up(values: Tensor) -> Tensor:
    """``values`` summed over all processes, in place, the same bits in all of them.

    Raises:
        WorldError: another process has ended.
    """
    _count(values)
    with _failing():
        distributed.all_reduce(values)
    return values


class World:
    """The processes of the default group of ``torch.distributed``, which is initialised.

    Every method is called by all processes, in the same order; results are the same bits in all of
    them.  What tensors are sent is counted in ``TRAFFIC``.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    def __init__(self) -> None:
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes, draws and speaks."""
        return self.rank == 0

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes that of process 0, in place; one message per type."""
        by_type: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach())
        for same in by_type.values():
            # Backends do not all send truth values.
            is_bool = same[0].dtype is torch.bool
            packed = torch.cat([tensor.flatten() for tensor in same])
            packed = packed.to(torch.uint8) if is_bool else packed
            _count(packed)
            with _failing():
                distributed.broadcast(packed, src=0)
            start = 0
            for tensor in same:
                part = packed[start : start + tensor.numel()]
                tensor.copy_(part.view_as(tensor))
                start += tensor.numel()

    def object_from_first(self, value: Any) -> Any:
        """What process 0 gave; it is pickled, and the values of the others are not looked at."""
        box = [value if self.first else None]
        with _failing():
            distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


def _count(values: Tensor) -> None:
    TRAFFIC.messages += 1
    TRAFFIC.sent_bytes += values.numel() * values.element_size()


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise WorldError(
            "another process of this run has ended or cannot be reached (process "
            f"{distributed.get_rank()} of {distributed.get_world_size()} met: {reason})"
        ) from error
