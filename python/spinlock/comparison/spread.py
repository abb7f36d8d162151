"""How sure a difference is: spread over splits, and an interval for paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from spinlock.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedChange:
    """How much lower or higher a figure is than the baseline's, split by split.

    Attributes:
        change: relative, of the geometric mean over splits: -0.23 is 23% lower.
        low, high: the interval around it; None with one split, which has no spread.
        lower: splits in which the figure is lower than the baseline's.
        higher: splits in which it is higher.
        splits: all splits.
    """

    change: float
    low: float | None
    high: float | None
    lower: int
    higher: int
    splits: int

    @property
    def beyond_noise(self) -> bool:
        """The interval is known and leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0.0 or self.high < 0)


def paired_change(
    values: Sequence[float], baseline: Sequence[float], held_out_share: float
) -> PairedChange:
    """The relative change from ``baseline`` to ``values``, pairs of the same splits.

    Log ratios r of J splits have mean m and standard deviation s.  The splits share most of their
    training rows, so that s^2 / J is too small for the variance of m; the corrected resampled
    t-test (Nadeau and Bengio, Machine Learning 52, 2003) takes
    s^2 (1 / J + held out / training rows) with J - 1 degrees of freedom instead.

    Args:
        values: J errors > 0.
        baseline: J errors > 0.
        held_out_share: held-out rows / all rows of a split, above 0 and below 1.

    Raises:
        InputError: lists of other lengths, an error that is not above 0, or a share out of range.

    >>> found = paired_change([0.8, 0.9, 0.85], [1.0, 1.0, 1.0], held_out_share=0.2)
    >>> round(found.change, 3), round(found.low, 3), round(found.high, 3), found.beyond_noise
    (-0.151, -0.3, 0.03, False)
    >>> paired_change([0.8], [1.0], 0.2).low is None
    True
    """
    if len(values) != len(baseline) or not values:
        raise InputError(
            f"paired changes need as many values as baselines, at least one; got {len(values)} "
            f"and {len(baseline)}"
        )
    if not (min(values) > 0.0 and min(baseline) > 0.0 and 0.0 < held_out_share < 1.0):
        raise InputError(
            "paired changes need errors above 0 and a share of held-out rows between 0 and 1; got "
            f"{list(values)}, {list(baseline)} and {held_out_share}"
        )
    ratios = np.log(np.asarray(values, dtype=np.float64) / np.asarray(baseline, dtype=np.float64))
    count, mean = len(ratios), float(ratios.mean())
    low = high = None
    if count > 1:
        correction = 1.0 / count + held_out_share / (1.0 - held_out_share)
        error = float(ratios.std(ddof=1)) * math.sqrt(correction)
        reach = float(student.ppf(0.5 + CONFIDENCE / 2.0, count - 1)) * error
        low, high = math.expm1(mean - reach), math.expm1(mean + reach)
    return PairedChange(
        change=math.expm1(mean),
        low=low,
        high=high,
        lower=int((ratios < 0.0).sum()),
        higher=int((ratios > 0.0).sum()),
        splits=count,
    )


def seed_spread(values: Sequence[float], seeds: Sequence[int]) -> float | None:
    """Standard deviation over seeds (n - 1) of the mean over each seed's splits; None for one seed.

    >>> seed_spread([1.0, 3.0, 5.0, 5.0], [0, 0, 1, 1])     # means 2 and 5
    2.1213203435596424
    """
    means = [
        np.mean([value for value, at in zip(values, seeds, strict=True) if at == seed])
        for seed in dict.fromkeys(seeds)
    ]
    return float(np.std(means, ddof=1)) if len(means) > 1 else None
