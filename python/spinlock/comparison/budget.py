"""Equal bits: how a plan with bits of its own is brought to the common number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spinlock.analysis.compression_plan import CompressionPlan
from spinlock.analysis.dims import MIN_CODES
from spinlock.errors import ConfigError

# Bits that count as equal: a plan this close to the budget is left alone.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Budgeted:
    """A plan at the budget and how it came there.

    Attributes:
        plan: with the codebook sizes at the budget; latent dims and ratios as they were.
        own_bits: what the plan had by itself.
        exponent: every codebook size was raised to this power, then rounded; 1 where the plan was
            at the budget already.
    """

    plan: CompressionPlan
    own_bits: float
    exponent: float


def at_budget(plan: CompressionPlan, bits: float) -> Budgeted:
    """The plan with ``bits`` bits per row, its shares of them kept.

    Every codebook's log2 K is multiplied by the same factor, so that a category which has twice the
    bits of another keeps twice its bits; sizes are then whole numbers, moved by single codes to
    where the sum comes nearest.

    Raises:
        ConfigError: fewer bits than codebooks, each of which has at least 2 codes.

    >>> from spinlock.analysis import UniformRatios, build_plan
    >>> plan = build_plan(feature_counts={"a": 24, "b": 5}, ratios=UniformRatios((0.5, 1.0, 1.5)))
    >>> found = at_budget(plan, 30.0)
    >>> found.plan.codebook_sizes, round(found.plan.bits, 2)
    (((39, 53, 53), (17, 24, 24)), 30.0)
    >>> round(found.own_bits, 2), round(found.exponent, 2)
    (26.17, 1.15)
    """
    own = plan.bits
    if abs(own - bits) <= TOLERANCE:
        return Budgeted(plan, own, 1.0)
    sizes = [level.num_tokens for category in plan.categories for level in category.levels]
    scaled, exponent = scaled_sizes(sizes, bits)
    following = iter(scaled)
    categories = tuple(
        replace(
            category,
            levels=tuple(replace(level, num_tokens=next(following)) for level in category.levels),
        )
        for category in plan.categories
    )
    return Budgeted(replace(plan, categories=categories), own, exponent)


def scaled_sizes(sizes: Sequence[int], bits: float) -> tuple[list[int], float]:
    """Codebook sizes K^f, rounded, at least 2, whose sum of log2 comes nearest to ``bits``; and f.

    Raises:
        ConfigError: fewer bits than codebooks.

    >>> scaled_sizes([16, 4], 9.0)
    ([64, 8], 1.5)
    """
    if bits < len(sizes):
        raise ConfigError(
            f"{bits:g} bits are fewer than the {len(sizes)} codebooks, each of which needs at "
            "least 1: raise --bits, or have fewer levels or categories"
        )
    logs = np.log2(np.asarray(sizes, dtype=np.float64))
    exponent = _exponent(logs, bits)
    scaled = np.maximum(np.rint(np.exp2(exponent * logs)), MIN_CODES).astype(np.int64)
    return _settled(scaled, bits).tolist(), exponent


def _exponent(logs: NDArray[np.float64], bits: float) -> float:
    """The f at which the unrounded sizes have the bits; sizes stop at 2 on the way down."""
    if bits >= logs.sum():
        return float(bits / logs.sum())
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if np.maximum(middle * logs, 1.0).sum() < bits:
            low = middle
        else:
            high = middle
    return high


def _settled(sizes: NDArray[np.int64], bits: float) -> NDArray[np.int64]:
    """Single codes added or taken, each time where it brings the sum nearest to ``bits``."""
    sizes = sizes.copy()
    over = float(np.log2(sizes).sum()) - bits
    while True:
        up = np.log2((sizes + 1) / sizes)
        down = np.where(sizes > MIN_CODES, np.log2((sizes - 1) / sizes), math.inf)
        steps = np.concatenate([up, down])
        best = int(np.abs(over + steps).argmin())
        if abs(over + steps[best]) >= abs(over) - 1e-12:
            return sizes
        over += float(steps[best])
        sizes[best % len(sizes)] += 1 if best < len(sizes) else -1
