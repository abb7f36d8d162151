"""Random numbers of a run: every use has a stream of its own, a function of seed and position."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What random numbers are for; the values are part of what a checkpoint relies on."""

    BATCH_ORDER = 0
    INITIALISATION = 1
    REVIVAL = 2
    REFIT = 3
    DROPOUT = 4


def generator(seed: int, stream: Stream, epoch: int = 0) -> torch.Generator:
    """A CPU generator for one use in one epoch, so that an epoch can be continued in the middle.

    >>> [int(torch.randint(100, (1,), generator=generator(0, Stream.REVIVAL, e))) for e in (1, 1)]
    [85, 85]
    """
    words = np.random.SeedSequence((seed, int(stream), epoch)).generate_state(1, np.uint64)
    # torch takes a signed seed; dropping the top bit keeps it positive.
    return torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))


def sample_rows(x: Tensor, count: int, source: torch.Generator) -> Tensor:
    """At most ``count`` distinct rows of ``x [B, N]``; all rows in order where they suffice."""
    if len(x) <= count:
        return x
    chosen = torch.randperm(len(x), generator=source)[:count]
    return x.index_select(0, chosen.to(x.device))


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's global generator for the length of a run and puts it back afterwards.

    Only weight initialisation and dropout draw from it.  Deterministic algorithms are asked for
    as well, with a warning where an operation has none.
    """
    devices = [device.index or 0] if device.type == "cuda" else []
    before = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        # use_deterministic_algorithms() would load the whole compiler to tell it as well.
        torch.set_deterministic_debug_mode("warn")
        # Nothing reads uninitialised memory; filling it would only cost time.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            memory.fill_uninitialized_memory = fill
            torch.set_deterministic_debug_mode(before)


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's global generators, for a checkpoint."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_rng_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Continues torch's global generators from :func:`rng_state`, where the device is the same."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
