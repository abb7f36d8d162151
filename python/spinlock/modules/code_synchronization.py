"""Codebooks that several processes train together."""

import torch
from torch import Tensor, distributed

from spinlock.modules.codebook_bank import CodebookBank

__all__ = ["add_up", "copy_from_first", "is_synchronized", "same_everywhere"]


def is_synchronized(wanted: bool | None) -> bool:
    """Whether processes share their statistics; None: where there are several of them."""
    if wanted is False or not distributed.is_available():
        return False
    return bool(distributed.is_initialized() and distributed.get_world_size() > 1)


def add_up(counts: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """The sums over all processes, in one message."""
    packed = torch.cat([counts.flatten(), sums.flatten()])
    distributed.all_reduce(packed)
    first, second = packed.split([counts.numel(), sums.numel()])  # type: ignore[no-untyped-call]
    return first.view_as(counts), second.view_as(sums)


@torch.no_grad()
def copy_from_first(bank: CodebookBank) -> None:
    """Codes, averages and which codebooks are initialised become those of process 0."""
    tensors = [bank.weight, bank.ema_counts, bank.initialized_codebooks]
    tensors += [] if bank.ema_sums is None else [bank.ema_sums]
    packed = torch.cat([tensor.detach().flatten().to(torch.float32) for tensor in tensors])
    distributed.broadcast(packed, src=0)
    parts = torch.split(packed, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def same_everywhere(drawn: Tensor) -> Tensor:
    """What process 0 drew."""
    distributed.broadcast(drawn, src=0)
    return drawn
