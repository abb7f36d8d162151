"""What several codebooks learn in a step travels between processes in one message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor, distributed

from spinlock.distributed.world import add_up, several

__all__ = ["add_up_then", "afterwards", "one_message"]


class _Waiting(NamedTuple):
    tensors: tuple[Tensor, ...]
    then: Callable[..., None]


_block: ContextVar[list[_Waiting] | None] = ContextVar("spinlock_one_message", default=None)


def one_message() -> AbstractContextManager[None]:
    """Quantizers that learn within the block learn at its end, after one message for all of them.

    Around the forward pass of a model, it makes one all-reduce of what would be one per codebook;
    ``ResidualVQ`` and ``GroupedResidualVQ`` do so for their levels by themselves.  Blocks within
    blocks belong to the outermost.  With one process, and in a compiled call, nothing changes.
    Every process has to go through the block with the same quantizers in the same order.

    >>> with one_message():
    ...     pass
    """
    # Compiled code of torch 2.6 enters no generator.
    return nullcontext() if torch.compiler.is_compiling() else _collected()


@contextmanager
def _collected() -> Iterator[None]:
    if not several() or _block.get() is not None:
        yield
        return
    waiting: list[_Waiting] = []
    token = _block.set(waiting)
    try:
        yield
    finally:
        _block.reset(token)
    sums = iter(_summed([tensor for part in waiting for tensor in part.tensors]))
    for part in waiting:
        part.then(*(next(sums) for _ in part.tensors))


def add_up_then(tensors: Sequence[Tensor], then: Callable[..., None], *, now: bool = False) -> None:
    """Calls ``then`` with the sums of ``tensors`` over all processes.

    Args:
        tensors: of one process.
        then: gets as many tensors of the same shapes; at the end of a block, if there is one.
        now: do not wait for that.
    """
    waiting = None if now or torch.compiler.is_compiling() else _block.get()
    if waiting is None:
        then(*_summed(tensors))
    else:
        waiting.append(_Waiting(tuple(tensors), then))


def afterwards(action: Callable[[], None], *, now: bool = False) -> None:
    """Calls ``action`` when everything before it has been added up."""
    waiting = None if now or torch.compiler.is_compiling() else _block.get()
    if waiting is None:
        action()
    else:
        waiting.append(_Waiting((), action))


def _summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sums over all processes, in one message per dtype and device."""
    kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    for index, tensor in enumerate(tensors):
        kinds.setdefault((tensor.dtype, tensor.device), []).append(index)
    found: list[Tensor] = list(tensors)
    for members in kinds.values():
        packed = torch.cat([tensors[index].flatten() for index in members])
        if torch.compiler.is_compiling():
            distributed.all_reduce(packed)
        else:
            add_up(packed)
        start = 0
        for index in members:
            count = tensors[index].numel()
            found[index] = packed[start : start + count].view_as(tensors[index])
            start += count
    return found
