"""The ranges of the feature cleaner's parameters."""

from math import inf
from typing import Any

from spinlock.data.column_repair import OUTLIER_METHODS
from spinlock.errors import ConfigError


def check_parameters(c: Any) -> None:
    """Refuse a cleaner with a parameter out of its range.

    Raises:
        ConfigError: names the first one.
    """
    for name, value, fits, expected in _ranges(c):
        if not fits:
            raise ConfigError(f"feature_cleaning.{name} is {value!r}; expected {expected}.")


def _ranges(c: Any) -> list[tuple[str, Any, bool, str]]:
    span = list(c.percentile_range)
    methods = ", ".join(OUTLIER_METHODS)
    positive, finite = "a number above 0", "a finite number above 0"
    return [
        ("outlier_method", c.outlier_method, c.outlier_method in OUTLIER_METHODS, methods),
        (
            "percentile_range",
            span,
            len(span) == 2 and 0.0 <= span[0] < span[1] <= 100.0,
            "two percentiles, 0 <= low < high <= 100",
        ),
        ("iqr_multiplier", c.iqr_multiplier, 0 < c.iqr_multiplier < inf, finite),
        ("mad_threshold", c.mad_threshold, 0 < c.mad_threshold < inf, finite),
        ("variance_threshold", c.variance_threshold, c.variance_threshold >= 0, "0 or more"),
        (
            "max_variance_threshold",
            c.max_variance_threshold,
            c.max_variance_threshold > 0,
            positive,
        ),
        ("max_cv_threshold", c.max_cv_threshold, c.max_cv_threshold > 0, positive),
        (
            "deduplicate_threshold",
            c.deduplicate_threshold,
            0.0 < c.deduplicate_threshold <= 1.0,
            "a correlation above 0 and at most 1",
        ),
        (
            "missing_indicators",
            c.missing_indicators,
            isinstance(c.missing_indicators, bool),
            "true or false",
        ),
        ("sample_rows", c.sample_rows, c.sample_rows >= 2, "2 or more rows"),
        ("block_rows", c.block_rows, c.block_rows >= 1, "1 or more rows"),
    ]
