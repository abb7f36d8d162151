"""The section ``feature_cleaning``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spinlock.config.base import Expected, Issue, NonNegative, Positive, Section, raise_conflicts

Percentiles = Annotated[
    tuple[float, float],
    Field(strict=False),
    Expected("two percentiles, 0 <= low < high <= 100"),
]


class CleaningConfig(Section):
    """How raw columns become finite, capped, varying, distinct ones.

    Keys, defaults and meaning are those of :class:`spinlock.data.cleaning.FeatureCleaner`.
    """

    enabled: bool = True
    variance_threshold: NonNegative = 1e-16
    max_variance_threshold: Positive = 1e10
    max_cv_threshold: Positive = 10.0
    deduplicate_threshold: Annotated[float, Field(gt=0, le=1)] = 0.99
    outlier_method: Literal["percentile", "iqr", "mad", "none"] = "percentile"
    percentile_range: Percentiles = (0.5, 99.5)
    iqr_multiplier: Positive = 3.0
    mad_threshold: Positive = 5.0
    missing_indicators: bool = False

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        low, high = self.percentile_range
        if not 0.0 <= low < high <= 100.0:
            issue = Issue(
                "percentile_range",
                f"expected two percentiles, 0 <= low < high <= 100, got [{low:g}, {high:g}]; "
                "[0.5, 99.5] caps the outermost half percent on both sides",
            )
            raise_conflicts([issue])
        return self
