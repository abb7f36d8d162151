"""Equal bits: whole codebook sizes at a common number of bits, shares kept."""

import itertools
import math

import numpy as np
import pytest

from spinlock.analysis import UniformRatios, build_plan
from spinlock.comparison.budget import TOLERANCE, at_budget, scaled_sizes
from spinlock.errors import ConfigError


def bits(sizes: list[int]) -> float:
    return math.fsum(map(math.log2, sizes))


@pytest.mark.parametrize("seed", range(8))
def test_the_sum_comes_within_a_code_of_the_budget(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 300, rng.integers(1, 40)).tolist()
    budget = float(rng.uniform(1.0, 2.0)) * max(len(sizes), bits(sizes) * rng.uniform(0.3, 1.0))
    found, exponent = scaled_sizes(sizes, budget)
    assert len(found) == len(sizes)
    assert min(found) >= 2
    assert exponent > 0
    # No single code more or less would come nearer.
    off = abs(bits(found) - budget)
    for place, step in itertools.product(range(len(found)), (-1, 1)):
        moved = list(found)
        moved[place] = max(2, moved[place] + step)
        assert off <= abs(bits(moved) - budget) + 1e-9
    # Order is kept, but for the codes that settle the rounding.
    for (one, before), (other, after) in itertools.combinations(zip(found, sizes, strict=True), 2):
        if after >= 1.2 * before + 2:
            assert other >= one - 2


def test_small_codebooks_stop_at_two_codes() -> None:
    found, _ = scaled_sizes([2, 2, 256], 4.0)
    assert found == [2, 2, 4]
    assert scaled_sizes([2, 3], 2.0)[0] == [2, 2]


def test_fewer_bits_than_codebooks_are_refused() -> None:
    with pytest.raises(ConfigError, match="raise --bits"):
        scaled_sizes([4, 4, 4], 2.9)


def test_a_plan_keeps_all_but_its_sizes() -> None:
    plan = build_plan(feature_counts={"a": 24, "b": 5}, ratios=UniformRatios((0.5, 1.0, 1.5)))
    found = at_budget(plan, 40.0)
    assert found.own_bits == plan.bits
    assert found.plan.bits == pytest.approx(40.0, abs=0.02)
    assert found.plan.latent_dims == plan.latent_dims
    assert found.plan.ratios == plan.ratios
    assert found.exponent == pytest.approx(40.0 / plan.bits, rel=1e-6)


def test_a_plan_at_the_budget_is_left_alone() -> None:
    plan = build_plan(feature_counts={"a": 24}, ratios=UniformRatios((0.5, 1.0, 1.5)))
    found = at_budget(plan, plan.bits + 0.9 * TOLERANCE)
    assert found.plan is plan
    assert found.exponent == 1.0
