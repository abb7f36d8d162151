"""The section ``training.refit``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spinlock.config.base import Count, Positive, Section


class RefitConfig(Section):
    """Rounds after the last epoch: tokens are swept, codebooks and decoder refitted to them."""

    rounds: Annotated[int, Field(ge=0)] = 0
    epochs: Count = 6
    learning_rate: Positive = 1e-3
    sweeps: Annotated[int, Field(ge=0)] = 1
    own_error_limit: Annotated[float, Field(ge=1)] | None = None
    inner_split: Annotated[float, Field(ge=0, lt=1)] = 0.1
