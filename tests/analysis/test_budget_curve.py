"""What bits buy: the path of spending against allocations made one by one."""

import itertools

import numpy as np
import pytest

from spinlock.analysis.allocation_record import RateDistortionOptions
from spinlock.analysis.bit_allocation import allocate_bits
from spinlock.analysis.budget_curve import BudgetCurve, budget_curve
from spinlock.analysis.category_curves import measure_curves


def rows(count: int = 500) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(count, 2)) @ rng.normal(size=(2, 8))
    return {"noise": rng.normal(size=(count, 6)), "plane": plane / plane.std(0)}


def curve_of(count: int = 500, num_levels: int = 3, alpha: float = 4.0) -> BudgetCurve:
    return budget_curve(measure_curves(rows(count), num_levels=num_levels), alpha)


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_every_point_is_an_allocation(alpha: float) -> None:
    curve = curve_of(alpha=alpha)
    for point in curve.allocated[1::5]:
        options = RateDistortionOptions(bits=point.bits, alpha=alpha)
        found = allocate_bits(rows(), default_bits=1.0, options=options)
        assert found.bits == pytest.approx(point.bits)
        assert found.mean_mse == pytest.approx(point.mean_mse)
        errors = {c.name: c.predicted_mse for c in found.categories}
        assert max(errors.values()) == pytest.approx(point.worst_mse)
        assert errors[point.worst_category] == pytest.approx(point.worst_mse)
        assert sum(sum(c.codebook_sizes) for c in found.categories) == point.codes
        gaussian = np.mean([c.gaussian_mse for c in found.categories])
        assert gaussian == pytest.approx(point.gaussian_mse)


@pytest.mark.parametrize("num_levels", [1, 3])
def test_more_bits_lose_less_and_allocating_beats_equal_codebooks(num_levels: int) -> None:
    curve = curve_of(num_levels=num_levels)
    for low, high in itertools.pairwise(curve.allocated):
        assert low.bits < high.bits
        assert low.mean_mse > high.mean_mse
        assert low.worst_mse >= high.worst_mse
    middle = curve.equal[len(curve.equal) // 2].bits
    equal = curve.equal_at(middle)
    assert equal is not None
    assert curve.at(middle).worst_mse < equal[1]


def test_reading_between_the_points() -> None:
    curve = curve_of()
    first, last = curve.allocated[0], curve.allocated[-1]
    assert curve.at(0.0) == first
    assert curve.at(1e9) == last
    assert curve.at(last.bits) == last
    assert curve.equal_at(1e9) is None
    low, high = curve.equal[:2]
    between = curve.equal_at((low.bits + high.bits) / 2)
    assert between is not None
    assert low.mean_mse > between[0] > high.mean_mse


def test_few_rows_give_the_gaussian_curve() -> None:
    curve = curve_of(count=100)
    assert curve.gaussian
    assert all(p.mean_mse == pytest.approx(p.gaussian_mse) for p in curve.allocated)
