"""The section ``model.rate_distortion``."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from spinlock.analysis.allocation_record import (
    MOST_ALPHA,
    MOST_CODES,
    LevelSplit,
    RateDistortionOptions,
)
from spinlock.config.base import Issue, Positive, Section, raise_conflicts


class RateDistortionConfig(Section):
    """What the strategy ``rate_distortion`` spends, and how; no other strategy reads it."""

    bits: Positive | None = None
    target_mse: Positive | None = None
    alpha: Annotated[float, Field(ge=1, le=MOST_ALPHA)] = 4.0
    level_split: LevelSplit = "measured"
    max_codes: Annotated[int, Field(ge=2, le=MOST_CODES)] | None = None

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        if self.bits is not None and self.target_mse is not None:
            text = "expected null beside bits: both say how much to spend; remove one of them"
            raise_conflicts([Issue("target_mse", text, ("bits",))])
        return self

    def options(self) -> RateDistortionOptions:
        """The same, for the analysis."""
        return RateDistortionOptions(**self.model_dump())
