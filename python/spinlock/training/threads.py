"""How a step gets at the processor: on as many threads as it can feed, with nobody in between."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_FLOPS_PER_THREAD = 4e9


def threads_for(model: nn.Module, batch_size: int, configured: int | None = None) -> int:
    """Threads for training steps of ``batch_size`` rows.

    A small step is many short operations, and waiting for a second thread at the end of each
    costs more than it does; on a busy machine a hundred times more.  So a step gets one thread
    per 4 GFLOP (6 per parameter and row, forward and backward), at most as many as torch would
    use.

    Args:
        model: what is trained.
        batch_size: rows per step.
        configured: ``training.num_threads``; taken as it is where given.

    >>> threads_for(nn.Linear(100, 100), batch_size=512)
    1
    >>> threads_for(nn.Linear(100, 100), batch_size=512, configured=3)
    3
    """
    if configured is not None:
        return configured
    flops = 6.0 * batch_size * sum(parameter.numel() for parameter in model.parameters())
    return max(1, min(torch.get_num_threads(), int(flops / _FLOPS_PER_THREAD)))


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """torch's CPU operations on ``count`` threads; the number before is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def collecting_less() -> Iterator[None]:
    """Python's garbage collector looks past what is there now: modules, data and the model.

    A step makes enough objects for it to go through all of them every few steps.
    """
    if gc.get_freeze_count() > 0:  # somebody else's, who would not want it undone
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
