"""Scores of a category: formulas, special cases, one result from arrays and from blocks."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from spinlock.analysis.profile import (
    SCORE_NAMES,
    CategoryProfile,
    dimensionality_score,
    profile_category,
    profile_from_gram,
)
from spinlock.analysis.statistics import GramMatrix
from spinlock.errors import ConfigError, DataError


def correlated(seed: int, rows: int, columns: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(columns, columns)) * rng.lognormal(sigma=2.0, size=columns)
    return rng.normal(size=(rows, columns)) @ mixing + 10.0 * rng.normal(size=columns)


@pytest.mark.parametrize("columns", [2, 5, 6, 24, 101])
def test_scores_follow_their_formulas(columns: int) -> None:
    features = correlated(columns, 300, columns)
    profile = profile_category("c", features)
    correlation = np.corrcoef(features.T)
    off_diagonal = correlation[~np.eye(columns, dtype=bool)]
    explained = PCA(min(5, columns)).fit(features).explained_variance_ratio_.sum()
    assert profile.variance_score == pytest.approx(np.clip(np.median(features.var(0)), 0, 1))
    assert profile.dimensionality_score == pytest.approx(
        min(1.0, np.log10(columns + 1) / np.log10(101))
    )
    assert profile.information_score == pytest.approx(explained, abs=1e-9)
    assert profile.correlation_score == pytest.approx(np.abs(off_diagonal).mean(), abs=1e-9)
    eigenvalues = np.linalg.eigvalsh(np.cov(features.T, ddof=0))[::-1]
    np.testing.assert_allclose(profile.spectrum, eigenvalues, rtol=1e-6, atol=1e-9 * eigenvalues[0])


def test_variance_is_the_population_variance_and_its_median() -> None:
    features = np.array([[0.0, 0.0, 5.0], [1.0, 0.4, 9.0]])
    assert profile_category("c", features).variance_score == pytest.approx(0.25)


def test_dimensionality_cut_points_are_ten_and_forty_features() -> None:
    above_half = [n for n in range(1, 101) if dimensionality_score(n) > 0.5]
    above_four_fifths = [n for n in range(1, 101) if dimensionality_score(n) > 0.8]
    assert (above_half[0], above_four_fifths[0]) == (10, 40)
    assert dimensionality_score(100) == 1.0
    assert dimensionality_score(10**6) == 1.0


def test_one_feature_has_conventional_scores() -> None:
    profile = profile_category("c", np.array([[1.0], [2.0], [4.0]]))
    assert profile.information_score == 0.5
    assert profile.correlation_score == 0.0
    assert profile.spectrum == (pytest.approx(14 / 9),)


@pytest.mark.parametrize("columns", [2, 3, 5])
def test_up_to_five_features_are_explained_in_full(columns: int) -> None:
    assert profile_category("c", correlated(0, 50, columns)).information_score == 1.0


def test_fewer_rows_than_components() -> None:
    profile = profile_category("c", correlated(1, 2, 12))
    assert profile.information_score == pytest.approx(1.0)
    assert profile.correlation_score == pytest.approx(1.0)


def test_a_constant_column_correlates_with_nothing() -> None:
    ramp = np.arange(10.0)
    features = np.column_stack([ramp, 2 * ramp, np.full(10, 0.1)])
    assert profile_category("c", features).correlation_score == pytest.approx(1 / 3)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(2, 200),
    columns=st.integers(1, 20),
    cuts=st.integers(1, 7),
)
def test_blocks_and_arrays_agree(seed: int, rows: int, columns: int, cuts: int) -> None:
    features = correlated(seed, rows, columns + 3)
    parts = [GramMatrix().update(block) for block in np.array_split(features, min(cuts, rows))]
    merged = parts[0]
    for part in parts[1:]:
        merged.merge(part)
    chosen = np.random.default_rng(seed).permutation(columns + 3)[:columns]
    by_blocks = profile_from_gram("c", merged.finalise(), chosen.tolist())
    by_array = profile_category("c", features[:, chosen])
    for key in SCORE_NAMES:
        assert getattr(by_blocks, key) == pytest.approx(getattr(by_array, key), abs=1e-9)
        assert 0.0 <= getattr(by_array, key) <= 1.0
    scale = by_array.spectrum[0]
    np.testing.assert_allclose(by_blocks.spectrum, by_array.spectrum, atol=1e-9 * scale, rtol=0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), columns=st.integers(1, 30))
def test_order_of_rows_and_columns_does_not_matter(seed: int, columns: int) -> None:
    features = correlated(seed, 40, columns)
    rng = np.random.default_rng(seed)
    shuffled = features[rng.permutation(40)][:, rng.permutation(columns)]
    expected = profile_category("c", features).scores()
    assert profile_category("c", shuffled).scores() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint16, bool])
def test_any_real_dtype_is_scored_in_float64(dtype: Any) -> None:
    features = np.random.default_rng(0).integers(0, 3, size=(50, 7)).astype(dtype)
    expected = profile_category("c", features.astype(np.float64)).scores()
    assert profile_category("c", features).scores() == pytest.approx(expected, abs=1e-9)


def test_extreme_magnitudes_stay_in_range() -> None:
    features = correlated(3, 60, 8)
    expected = profile_category("c", features)
    for factor in (1e120, 1e-120):
        profile = profile_category("c", features * factor)
        assert profile.information_score == pytest.approx(expected.information_score)
        assert profile.correlation_score == pytest.approx(expected.correlation_score)


def test_the_input_is_left_alone() -> None:
    features = correlated(0, 20, 4)
    before = features.copy()
    features.flags.writeable = False
    profile_category("c", features)
    np.testing.assert_array_equal(features, before)


BAD: dict[str, tuple[Any, str]] = {
    "nan": (np.array([[1.0, np.nan], [2.0, 3.0]]), "1 of 2 features hold non-finite.*column 1"),
    "infinite": (np.array([[np.inf], [2.0]]), "non-finite"),
    "empty": (np.zeros((5, 0)), "column"),
    "no rows": (np.zeros((0, 3)), "at least 2 rows"),
    "one row": (np.ones((1, 3)), "at least 2 rows"),
    "one-dimensional": (np.ones(7), "shape"),
    "three-dimensional": (np.ones((2, 3, 4)), "shape"),
    "object": (np.array([[1.0, "a"], [2.0, None]], dtype=object), "dtype object"),
    "text": (np.array([["a"], ["b"]]), "dtype"),
    "complex": (np.ones((3, 2)) * 1j, "dtype complex"),
    "ragged": ([[1.0, 2.0], [3.0]], "no matrix"),
    "constant": (np.full((9, 3), 0.1), "every one of the 3 features .* is constant"),
    "one constant feature": (np.full((9, 1), 7.0), "constant"),
    "too large": (np.array([[1e200], [-1e200]]), "does not fit float64"),
    "too small": (
        np.array([[0.0, 1.0], [1e-150, 2.0]]),
        "column 0 varies by less than 1e-140.*Resc",
    ),
    "far too small": (np.array([[1.0, 1e-200], [2.0, 0.0]]), "column 1 varies by less than 1e-140"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_features_raise_with_a_reason(case: str) -> None:
    features, reason = BAD[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=reason) as caught:
            profile_category("shape", features)
    assert "'shape'" in str(caught.value)


def test_bad_statistics_raise_with_a_reason() -> None:
    rows = correlated(0, 10, 3)
    gram = GramMatrix().update(rows).finalise()
    with pytest.raises(DataError, match="no features"):
        profile_from_gram("c", gram, [])
    with pytest.raises(DataError, match="at least 2 rows"):
        profile_from_gram("c", GramMatrix().update(rows[:1]).finalise())
    rows[3, 1] = np.nan
    with pytest.raises(DataError, match="1 rows hold non-finite"):
        profile_from_gram("c", GramMatrix().update(rows).finalise())


def test_profiles_refuse_what_no_data_has() -> None:
    scores = dict.fromkeys(SCORE_NAMES, 0.5)
    assert CategoryProfile.from_scores("c", 3, scores).scores() == scores
    for bad in (1.5, -0.1, float("nan"), "0.5", True, None):
        with pytest.raises(ConfigError, match="information_score"):
            CategoryProfile.from_scores("c", 3, {**scores, "information_score": bad})  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match="keys"):
        CategoryProfile.from_scores("c", 3, {"variance_score": 0.5})
    with pytest.raises(ConfigError, match="num_features"):
        CategoryProfile.from_scores("c", 0, scores)
    with pytest.raises(ConfigError, match="2 values for 3"):
        CategoryProfile("c", 3, 0.5, 0.5, 0.5, 0.5, (1.0, 0.5))
    with pytest.raises(ConfigError, match="finite"):
        CategoryProfile("c", 1, 0.5, 0.5, 0.5, 0.5, (float("nan"),))
