"""Rows that judge refit rounds: the network and its codebooks are not fitted to them.

Cleaning, categories, ratios and normalisation are fitted to all training rows, these among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spinlock.training.seeding import Stream, generator

if TYPE_CHECKING:
    from spinlock.config import TrainingConfig


def held_back_rows(num_rows: int, settings: TrainingConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Which of the training rows are trained on, and which judge refit rounds; both ascending.

    Args:
        num_rows: of the training split.
        settings: ``refit.inner_split`` of them are held back where ``refit.rounds`` is above 0.
        seed: of the run; the same seed holds the same rows back.

    >>> from spinlock.config import TrainingConfig
    >>> settings = TrainingConfig(refit={"rounds": 2, "inner_split": 0.25})
    >>> trained, judging = held_back_rows(8, settings, seed=0)
    >>> len(trained), len(judging), sorted([*trained.tolist(), *judging.tolist()]) == list(range(8))
    (6, 2, True)
    """
    count = int(settings.refit.inner_split * num_rows) if settings.refit.rounds else 0
    order = torch.randperm(num_rows, generator=generator(seed, Stream.REFIT))
    # In their own order, so that neighbours in memory stay neighbours.
    return order[count:].sort().values, order[:count].sort().values
