"""Moments and Gram matrix: any blocks and any merge tree against exact rational arithmetic."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from spinlock.analysis.statistics import GramMatrix, Moments
from spinlock.errors import DataError

Matrix = NDArray[np.float64]

FINITE = st.floats(-1e9, 1e9, allow_nan=False, width=32) | st.floats(-1.0, 1.0, width=32)
OFFSETS = st.sampled_from([0.0, 1.0, 1e6, -1e12])


def matrices(elements: st.SearchStrategy[float]) -> st.SearchStrategy[Matrix]:
    shapes = st.tuples(st.integers(1, 24), st.integers(1, 4))
    return hnp.arrays(np.float64, shapes, elements=elements)


@st.composite
def merge_trees(draw: st.DrawFn, make: Callable[[], Any], elements: Any) -> tuple[Matrix, Any]:
    """A matrix, and the statistic of it over random blocks merged in a random order."""
    matrix = draw(matrices(elements)) + draw(OFFSETS)
    cuts = draw(st.lists(st.integers(0, len(matrix)), max_size=6).map(sorted))
    parts = [
        make().update(matrix[a:b]) for a, b in zip([0, *cuts], [*cuts, len(matrix)], strict=True)
    ]
    while len(parts) > 1:
        other = parts.pop(draw(st.integers(0, len(parts) - 1)))
        parts[draw(st.integers(0, len(parts) - 1))].merge(other)
    return matrix, parts[0]


def exact_moments(column: Matrix) -> tuple[float, float]:
    values = [Fraction(float(v)) for v in column[np.isfinite(column)]]
    mean = sum(values, Fraction(0)) / len(values)
    return float(mean), float(sum(((v - mean) ** 2 for v in values), Fraction(0)) / len(values))


@settings(max_examples=80, deadline=None)
@given(merge_trees(Moments, FINITE | st.just(float("nan")) | st.just(float("inf"))))
def test_moments_of_any_merge_tree_are_exact(case: tuple[Matrix, Moments]) -> None:
    matrix, merged = case
    result = merged.finalise()
    assert result.num_rows == len(matrix)
    for j, column in enumerate(matrix.T):
        finite = column[np.isfinite(column)]
        assert result.count[j] == len(finite)
        assert result.non_finite[j] == len(column) - len(finite)
        if len(finite) == 0:
            assert np.isnan([result.mean[j], result.variance[j], result.minimum[j]]).all()
            continue
        mean, variance = exact_moments(column)
        assert (result.minimum[j], result.maximum[j]) == (finite.min(), finite.max())
        assert result.mean[j] == pytest.approx(mean, rel=1e-12, abs=1e-12 * abs(finite).max())
        assert result.variance[j] == pytest.approx(variance, rel=1e-12, abs=1e-300)


@settings(max_examples=60, deadline=None)
@given(merge_trees(GramMatrix, FINITE))
def test_covariance_of_any_merge_tree_is_exact(case: tuple[Matrix, GramMatrix]) -> None:
    matrix, merged = case
    result = merged.finalise()
    exact = [[Fraction(float(v)) for v in column] for column in matrix.T]
    centred = [[v - sum(c, Fraction(0)) / len(c) for v in c] for c in exact]
    spread = np.sqrt(np.diagonal(result.covariance))
    for i, a in enumerate(centred):
        for j, b in enumerate(centred):
            covariance = float(
                sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0)) / len(a)
            )
            scale = spread[i] * spread[j]
            assert abs(result.covariance[i, j] - covariance) <= 1e-12 * scale + 1e-300
    assert result.count == len(matrix)
    assert np.array_equal(result.correlation, result.correlation.T)
    assert (np.abs(result.correlation) <= 1.0).all()


def test_offsets_cost_no_digits() -> None:
    """At mean 1e12 and standard deviation 1 the textbook formula has no correct digit."""
    x = np.random.default_rng(0).normal(size=(5_000, 2))
    shifted = np.round(x * 2**10) / 2**10 + 1e12
    plain = shifted - 1e12
    for block in (37, 5_000):
        far, near = GramMatrix(), GramMatrix()
        for start in range(0, len(x), block):
            far.update(shifted[start : start + block])
            near.update(plain[start : start + block])
        np.testing.assert_allclose(
            far.finalise().covariance, near.finalise().covariance, rtol=1e-13, atol=1e-15
        )


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.1, -3.3e38, 7.0])
def test_constant_columns_have_no_variance_and_no_correlation(value: float) -> None:
    rows = np.stack([np.full(1_001, value), np.arange(1_001.0)], axis=1)
    gram, moments = GramMatrix(), Moments()
    for block in np.array_split(rows, 7):
        gram.update(block)
        moments.update(block)
    assert moments.finalise().variance[0] == 0.0
    assert gram.finalise().correlation.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_correlation_matches_numpy() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 3.0
    result = GramMatrix().update(x).finalise()
    np.testing.assert_allclose(result.correlation, np.corrcoef(x.T), atol=1e-12)
    np.testing.assert_allclose(result.covariance, np.cov(x.T, ddof=0), rtol=1e-10)


def test_the_thread_count_changes_no_bit() -> None:
    x = np.random.default_rng(1).normal(size=(3_000, 150))
    results = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            results.append(GramMatrix().update(x).finalise().covariance)
    assert np.array_equal(*results)


def test_gram_skips_and_counts_rows_that_are_not_finite() -> None:
    rows = np.array([[1.0, 2.0], [np.nan, 5.0], [3.0, 9.0], [4.0, -np.inf]])
    result = GramMatrix().update(rows).finalise()
    assert (result.count, result.skipped_rows) == (2, 2)
    assert result.mean.tolist() == [2.0, 5.5]
    parts = [GramMatrix().update(rows[:2]), GramMatrix().update(rows[2:])]
    merged = GramMatrix().merge(parts[0]).merge(parts[1]).finalise()
    assert (merged.count, merged.skipped_rows) == (2, 2)


def test_a_part_without_finite_values_changes_nothing() -> None:
    rows = np.array([[1e12], [1e12 + 1.0]])
    empty = np.full((3, 1), np.nan)
    whole = Moments().update(empty).merge(Moments().update(rows)).update(empty).finalise()
    assert (whole.num_rows, whole.count[0], whole.variance[0]) == (8, 2, 0.25)


def test_empty_blocks_and_fresh_statistics_are_neutral() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    fresh = Moments().merge(Moments().update(rows)).merge(Moments()).update(rows[:0])
    assert fresh.finalise().mean.tolist() == [2.0, 3.0]
    gram = GramMatrix().merge(GramMatrix().update(rows)).merge(GramMatrix()).update(rows[:0])
    assert gram.finalise().mean.tolist() == [2.0, 3.0]


def test_merging_leaves_the_other_as_it_was() -> None:
    a, b = np.arange(6.0).reshape(3, 2), np.ones((2, 2))
    for make in (Moments, GramMatrix):
        other = make().update(a)
        total = make().merge(other).update(b)
        assert total.finalise().mean.tolist() == [1.6, 2.2]
        assert other.finalise().mean.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("small", [1e-150, 1e-200])
def test_columns_that_vary_by_too_little_are_refused(small: float) -> None:
    rows = np.array([[1.0, 0.0, 7.0], [2.0, 0.0, 7.0], [3.0, small, 7.0], [5.0, small, 7.0]])
    refused = r"column 1 varies by less than 1e-140.*Rescale the column"
    for cut in range(5):
        merged = GramMatrix().update(rows[:cut]).merge(GramMatrix().update(rows[cut:]))
        with pytest.raises(DataError, match=refused):
            merged.finalise()
    # Small steps of a column that varies elsewhere are no loss, nor are constants however small.
    merged.update(np.array([[1.0, 3.0, 7.0]]))
    assert merged.finalise().correlation[1, 0] == pytest.approx(
        np.corrcoef([1, 2, 3, 5, 1], [0, 0, 0, 0, 3])[0, 1]
    )
    constant = (
        GramMatrix()
        .update(np.full((3, 1), small))
        .merge(GramMatrix().update(np.full((2, 1), small)))
    )
    assert constant.finalise().covariance.tolist() == [[0.0]]


@pytest.mark.parametrize("make", [Moments, GramMatrix])
def test_what_cannot_be_used_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(DataError, match="0 rows"):
        make().finalise()
    with pytest.raises(DataError, match="0 rows"):
        make().update(np.zeros((0, 2))).finalise()
    with pytest.raises(DataError, match=r"3 columns.*had 2"):
        make().update(np.zeros((1, 2))).update(np.zeros((1, 3)))
    with pytest.raises(DataError, match="2 and of 3 columns"):
        make().update(np.zeros((1, 2))).merge(make().update(np.zeros((1, 3))))
    with pytest.raises(DataError, match="expected numbers"):
        make().update(np.array([["a"]]))
    with pytest.raises(DataError, match="shape"):
        make().update(np.zeros(3))
    with pytest.raises(DataError, match="Rescale"):
        make().update(np.array([[1.0, -1e200]]))
