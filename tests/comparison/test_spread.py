"""Intervals against figures computed by hand and against plain loops."""

import math

import numpy as np
import pytest
from scipy import stats

from spinlock.comparison.spread import PairedChange, paired_change, seed_spread
from spinlock.errors import InputError


def test_against_hand_computed_figures() -> None:
    # ln .8, ln .9, ln .85 = -.22314, -.10536, -.16252: mean -.16367, deviation .05890;
    # times sqrt(1/3 + .25) = .76376 and t(2) = 4.30265: .19356.
    found = paired_change([0.8, 0.9, 0.85], [1.0, 1.0, 1.0], 0.2)
    assert found.change == pytest.approx(math.exp(-0.16367) - 1, abs=1e-4)
    assert found.low == pytest.approx(math.exp(-0.16367 - 0.19356) - 1, abs=1e-4)
    assert found.high == pytest.approx(math.exp(-0.16367 + 0.19356) - 1, abs=1e-4)
    assert (found.lower, found.higher, found.splits) == (3, 0, 3)
    assert not found.beyond_noise


@pytest.mark.parametrize("count", [2, 5, 12])
def test_without_overlap_it_is_the_paired_t_interval(count: int) -> None:
    rng = np.random.default_rng(count)
    base = rng.uniform(0.5, 1.0, count)
    values = base * np.exp(rng.normal(-0.2, 0.1, count))
    expected = stats.ttest_1samp(np.log(values / base), 0.0).confidence_interval(0.95)
    found = paired_change(values.tolist(), base.tolist(), 1e-12)
    assert found.low == pytest.approx(math.expm1(expected.low), rel=1e-6)
    assert found.high == pytest.approx(math.expm1(expected.high), rel=1e-6)


def test_what_both_have_in_common_cancels() -> None:
    hard = [1.0, 5.0, 0.2]  # some splits are harder, for everyone
    found = paired_change([0.8 * v for v in hard], hard, 0.2)
    assert found.change == pytest.approx(-0.2)
    assert found.beyond_noise


def test_turning_the_comparison_round_turns_the_change() -> None:
    a, b = [0.5, 0.7, 0.6, 0.9], [0.6, 0.6, 0.9, 1.0]
    one, other = paired_change(a, b, 0.2), paired_change(b, a, 0.2)
    assert (1 + one.change) * (1 + other.change) == pytest.approx(1.0)
    assert one.low is not None
    assert other.high is not None
    assert (1 + one.low) * (1 + other.high) == pytest.approx(1.0)
    assert (one.lower, one.higher) == (other.higher, other.lower) == (3, 1)


def test_one_split_has_no_interval() -> None:
    found = paired_change([0.5], [1.0], 0.2)
    assert (found.change, found.low, found.high, found.beyond_noise) == (-0.5, None, None, False)


def test_coverage_of_the_interval_without_overlap() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        values = np.exp(rng.normal(-0.1, 0.2, 3))
        found = paired_change(values.tolist(), [1.0] * 3, 1e-12)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= math.expm1(-0.1) <= found.high
    assert 0.92 < inside / 400 < 0.98


@pytest.mark.parametrize(
    ("values", "baseline", "share"),
    [([], [], 0.2), ([1.0], [1.0, 2.0], 0.2), ([0.0], [1.0], 0.2), ([1.0], [1.0], 0.0)],
)
def test_what_has_no_change(values: list[float], baseline: list[float], share: float) -> None:
    with pytest.raises(InputError):
        paired_change(values, baseline, share)


def test_spread_is_over_seeds_not_over_folds() -> None:
    assert seed_spread([1.0, 3.0, 5.0, 5.0], [0, 0, 1, 1]) == pytest.approx(3 / math.sqrt(2))
    assert seed_spread([1.0, 3.0], [0, 0]) is None
    values = [0.3, 0.1, 0.25]
    assert seed_spread(values, [4, 5, 6]) == pytest.approx(np.std(values, ddof=1))


def test_an_interval_that_touches_zero_is_not_beyond_noise() -> None:
    assert not PairedChange(-0.1, -0.2, 0.0, 3, 0, 3).beyond_noise
    assert PairedChange(-0.1, -0.2, -1e-9, 3, 0, 3).beyond_noise
    assert PairedChange(0.1, 1e-9, 0.2, 0, 3, 3).beyond_noise
