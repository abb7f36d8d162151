"""Greedy spending against exhaustive search, and the hull against its definition."""

import itertools
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spinlock.analysis.bit_spending import (
    fewest_bits,
    mean_error,
    most_bits,
    reach_error,
    spend_bits,
)
from spinlock.analysis.operational_curve import (
    OperatingPoint,
    candidate_sizes,
    lower_hull,
    promising,
)
from spinlock.errors import ConfigError

CURVE = st.dictionaries(
    st.sampled_from([2, 3, 4, 6, 8, 12, 16, 32]), st.floats(0.01, 1.0), min_size=1, max_size=5
).map(lambda found: tuple(OperatingPoint((size,), error) for size, error in found.items()))
CURVES = st.lists(CURVE, min_size=1, max_size=3).map(
    lambda curves: {f"c{index}": curve for index, curve in enumerate(curves)}
)
ALPHA = st.sampled_from([1.0, 2.0, 4.0])


def cost(points: list[OperatingPoint] | tuple[OperatingPoint, ...], alpha: float) -> float:
    return sum(point.distortion**alpha for point in points)


def best_of_all(curves: dict[str, tuple[OperatingPoint, ...]], bits: float, alpha: float) -> float:
    """The least sum of distortion^alpha among all choices of one point per category."""
    return min(
        cost(choice, alpha)
        for choice in itertools.product(*curves.values())
        if sum(point.bits for point in choice) <= bits + 1e-9
    )


def whole_budgets(curves: dict[str, tuple[OperatingPoint, ...]], alpha: float) -> list[float]:
    """Budgets after 0, 1, ... whole steps, found without the code under test."""
    hulls = {name: lower_hull(points, alpha) for name, points in curves.items()}
    steps = sorted(
        (
            -(a.distortion**alpha - b.distortion**alpha) / (b.bits - a.bits),
            b.bits - a.bits,
        )
        for hull in hulls.values()
        for a, b in itertools.pairwise(hull)
    )
    start = sum(hull[0].bits for hull in hulls.values())
    return [start + total for total in itertools.accumulate([0.0, *(bits for _, bits in steps)])]


@settings(max_examples=200, deadline=None)
@given(curves=CURVES, alpha=ALPHA)
def test_after_whole_steps_no_other_choice_is_better(
    curves: dict[str, tuple[OperatingPoint, ...]], alpha: float
) -> None:
    for budget in whole_budgets(curves, alpha):
        sizes = spend_bits(curves, budget, alpha)
        chosen = []
        for name, points in curves.items():
            found = [point for point in points if point.codebook_sizes == sizes[name]]
            assume(found)  # two slopes that tie may come in another order
            chosen += found
        assert cost(chosen, alpha) <= best_of_all(curves, budget, alpha) + 1e-12


@settings(max_examples=200, deadline=None)
@given(curves=CURVES, alpha=ALPHA, share=st.floats(0.0, 1.2))
def test_the_budget_is_kept_and_nearly_spent(
    curves: dict[str, tuple[OperatingPoint, ...]], alpha: float, share: float
) -> None:
    low, high = fewest_bits(curves), most_bits(curves, alpha)
    budget = low + share * (high - low)
    sizes = spend_bits(curves, budget, alpha)
    spent = sum(math.log2(size) for (size,) in sizes.values())
    assert spent <= budget + 1e-9
    for name, points in curves.items():
        measured = [point.codebook_sizes[0] for point in points]
        assert min(measured) <= sizes[name][0] <= max(measured)
    if budget < high:
        # What is left is less than one more code of the category that was cut short.
        assert budget - spent < 1.0


@given(curve=CURVE, alpha=ALPHA)
def test_the_hull_lies_below_all_points(curve: tuple[OperatingPoint, ...], alpha: float) -> None:
    hull = lower_hull(curve, alpha)
    assert [p.bits for p in hull] == sorted({p.bits for p in hull})
    assert hull[0].bits == min(p.bits for p in curve)
    assert hull[-1].distortion == min(p.distortion for p in curve)
    for point in curve:
        if point.bits >= hull[-1].bits:
            continue
        left, right = next((a, b) for a, b in itertools.pairwise(hull) if b.bits > point.bits)
        share = (point.bits - left.bits) / (right.bits - left.bits)
        below = (1 - share) * left.distortion**alpha + share * right.distortion**alpha
        assert point.distortion**alpha >= below - 1e-12
    slopes = [
        (a.distortion**alpha - b.distortion**alpha) / (b.bits - a.bits)
        for a, b in itertools.pairwise(hull)
    ]
    assert all(first > second for first, second in itertools.pairwise(slopes))


@given(curve=CURVE, slack=st.floats(1.0, 2.0))
def test_promising_points_are_near_the_hull_of_the_logarithm(
    curve: tuple[OperatingPoint, ...], slack: float
) -> None:
    kept = promising(curve, slack + 1e-6)
    logs = [OperatingPoint(p.codebook_sizes, 10.0 + math.log(p.distortion)) for p in curve]
    on_hull = {p.codebook_sizes for p in lower_hull(logs)}
    assert on_hull <= {p.codebook_sizes for p in kept}
    assert set(promising(curve, slack + 1e-6)) <= set(promising(curve, 10.0 * slack))
    assert promising([OperatingPoint((2,), 0.0), OperatingPoint((4,), 1.0)], 1.0)[1:]


def test_a_large_exponent_spends_on_the_worst() -> None:
    curves = {
        "steep": [OperatingPoint((2,), 0.3), OperatingPoint((4,), 0.05)],
        "worst": [OperatingPoint((2,), 0.9), OperatingPoint((4,), 0.8)],
    }
    assert spend_bits(curves, 3.0, alpha=1.0) == {"steep": (4,), "worst": (2,)}
    assert spend_bits(curves, 3.0, alpha=4.0) == {"steep": (2,), "worst": (4,)}


def test_a_step_cut_short_lies_between_its_points() -> None:
    curves = {"a": [OperatingPoint((2, 2, 2), 1.0), OperatingPoint((16, 8, 4), 0.1)]}
    for budget in (3.0, 3.5, 4.7, 6.0, 7.5, 8.9, 9.0):
        sizes = spend_bits(curves, budget, 1.0)["a"]
        spent = OperatingPoint(sizes, 0.0).bits
        assert budget - 0.6 < spent <= budget + 1e-9
        assert all(lo <= k <= hi for lo, k, hi in zip((2, 2, 2), sizes, (16, 8, 4), strict=True))


def test_too_few_bits_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"budget of 2\.50 bits.*take 3\.00 bits"):
        spend_bits({"a": [OperatingPoint((2, 2, 2), 1.0)]}, 2.5, 1.0)


@given(curves=CURVES, alpha=ALPHA, share=st.floats(0.0, 1.0))
def test_a_target_is_reached_with_no_step_too_many(
    curves: dict[str, tuple[OperatingPoint, ...]], alpha: float, share: float
) -> None:
    hulls = {name: lower_hull(points, alpha) for name, points in curves.items()}
    start = mean_error({name: hull[0] for name, hull in hulls.items()})
    end = mean_error({name: hull[-1] for name, hull in hulls.items()})
    target = end + share * (start - end) + 1e-12
    chosen = reach_error(curves, target, alpha)
    assert mean_error(chosen) <= target
    assert mean_error(reach_error(curves, end * 0.99, alpha)) == end


@pytest.mark.parametrize("num_levels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("most", [2, 5, 37, 128, 256, 1024])
def test_candidates(num_levels: int, most: int) -> None:
    found = candidate_sizes(num_levels, most)
    assert len(set(found)) == len(found)
    assert found[0] == (2,) * num_levels
    assert found[-1] == (most,) * num_levels
    assert all(2 <= size <= most for sizes in found for size in sizes)
    # Coarse levels never get fewer codes than fine ones.
    assert all(list(sizes) == sorted(sizes, reverse=True) for sizes in found)


def test_three_levels_have_the_four_splits() -> None:
    found = set(candidate_sizes(3, 256))
    assert {(8, 8, 8), (16, 8, 4), (32, 8, 2), (64, 4, 2)} <= found
    assert set(candidate_sizes(3, 256, [(1.0, 0.0, -1.0)])) >= {(16, 8, 4), (64, 32, 16)}
