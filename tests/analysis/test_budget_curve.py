"""What bits buy: the path of spending against allocations made one by one."""

import itertools

import numpy as np
import pytest

from spinlock.analysis.bit_spending import spend_bits
from spinlock.analysis.budget_curve import BudgetCurve, budget_curve
from spinlock.analysis.category_curves import CategoryCurves, measure_curves


def rows(count: int = 500) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(count, 2)) @ rng.normal(size=(2, 8))
    return {"noise": rng.normal(size=(count, 6)), "plane": plane / plane.std(0)}


def curves_of(count: int = 500, num_levels: int = 3) -> CategoryCurves:
    return measure_curves(rows(count), num_levels=num_levels, every_size=True)


def curve_of(count: int = 500, num_levels: int = 3, alpha: float = 4.0) -> BudgetCurve:
    return budget_curve(curves_of(count, num_levels), alpha, around=4.0 * num_levels)


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_every_point_is_an_allocation(alpha: float) -> None:
    curves = curves_of()
    curve = budget_curve(curves, alpha, around=16.0)
    curves = curves.with_shared_decoder(spend_bits(curves.points, 16.0, alpha))
    for point in curve.allocated:
        chosen = {
            name: curves.at(name, sizes)
            for name, sizes in spend_bits(curves.points, point.bits, alpha).items()
        }
        errors = {name: found.distortion for name, found in chosen.items()}
        assert sum(found.bits for found in chosen.values()) == pytest.approx(point.bits)
        assert np.mean(list(errors.values())) == pytest.approx(point.mean_mse)
        assert errors[point.worst_category] == pytest.approx(point.worst_mse)
        assert max(errors.values()) == pytest.approx(point.worst_mse)
        assert sum(sum(found.codebook_sizes) for found in chosen.values()) == point.codes


@pytest.mark.parametrize("num_levels", [1, 3])
def test_more_bits_lose_less_and_allocating_beats_equal_codebooks(num_levels: int) -> None:
    curve = curve_of(num_levels=num_levels)
    for low, high in itertools.pairwise(curve.allocated):
        assert low.bits < high.bits
        assert low.mean_mse > high.mean_mse
        assert low.worst_mse >= high.worst_mse
    for point in curve.allocated[1:]:
        equal = curve.equal_at(point.bits)
        assert equal is None or point.worst_mse < 1.05 * equal[1]
    wins = [curve.equal_at(p.bits) or (0.0, 0.0) for p in curve.allocated]
    assert any(p.worst_mse < 0.8 * w[1] for p, w in zip(curve.allocated, wins, strict=True))


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
