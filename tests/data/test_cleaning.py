"""Cleaning: the order of the steps, and each step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spinlock.analysis.statistics import accumulate
from spinlock.data.cleaning import FeatureCleaner
from spinlock.data.column_repair import outlier_caps
from spinlock.data.split import split_rows

DATA = Path(__file__).parents[3] / "shared" / "data"
Matrix = NDArray[np.float32]


def columns(*values: Any) -> Matrix:
    return np.stack([np.asarray(v, dtype=np.float32) for v in values], axis=1)


def dropped(cleaner: FeatureCleaner, step: str) -> dict[str, str]:
    (found,) = [s for s in cleaner.report_.steps if s.name.startswith(step)]
    return {feature.name: feature.reason for feature in found.dropped}


@pytest.fixture
def normal() -> Matrix:
    return np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)


def test_non_finite_values_become_the_median_of_the_finite_ones(normal: Matrix) -> None:
    holed = normal.copy()
    holed[::7, 1] = np.nan
    holed[3, 2], holed[4, 2] = np.inf, -np.inf
    cleaner = FeatureCleaner(outlier_method="none").fit(holed)
    clean = cleaner.transform(holed)
    assert np.isfinite(clean).all()
    finite = np.isfinite(holed)
    assert np.array_equal(clean[finite], holed[finite])
    for j in (1, 2):
        assert set(clean[~finite[:, j], j]) == {np.float32(np.median(holed[finite[:, j], j]))}
    step = cleaner.report_.steps[0]
    assert (step.values_changed, step.columns_changed) == (58 + 2, 2)


def test_columns_without_a_finite_value_are_named(normal: Matrix) -> None:
    holed = np.insert(normal, 2, np.nan, axis=1)
    cleaner = FeatureCleaner().fit(holed, names=list("abcdef"))
    assert dropped(cleaner, "non-finite") == {"c": "no finite value"}
    assert cleaner.get_feature_names_out().tolist() == list("abdef")


def test_rare_values_that_the_sample_misses_are_reported(normal: Matrix) -> None:
    rare = np.full(400, np.nan)
    cleaner = FeatureCleaner(sample_rows=20).fit(normal)
    sampled = accumulate(cleaner.raw_pass(), [normal]).finalise().sample.row_numbers
    rare[np.setdiff1d(np.arange(400), sampled)[:3]] = 1.0
    cleaner.fit(columns(*normal.T, rare), names=list("abcdef"))
    assert "only 3 finite values" in dropped(cleaner, "non-finite")["f"]


def test_percentile_caps(normal: Matrix) -> None:
    cleaner = FeatureCleaner(percentile_range=(10, 75)).fit(normal)
    low, high = np.percentile(normal.astype(np.float64), [10, 75], axis=0)
    expected = np.clip(normal, low.astype(np.float32), high.astype(np.float32))
    assert np.array_equal(cleaner.transform(normal), expected)
    assert cleaner.report_.steps[1].values_changed == (expected != normal).sum()


def test_iqr_caps(normal: Matrix) -> None:
    cleaner = FeatureCleaner(outlier_method="iqr", iqr_multiplier=0.5).fit(normal)
    q1, q3 = np.percentile(normal.astype(np.float64), [25, 75], axis=0)
    reach = 0.5 * (q3 - q1)
    np.testing.assert_allclose(
        cleaner.transform(normal), np.clip(normal, q1 - reach, q3 + reach), rtol=1e-6
    )


def test_mad_caps(normal: Matrix) -> None:
    cleaner = FeatureCleaner(outlier_method="mad", mad_threshold=1.5).fit(normal)
    x = normal.astype(np.float64)
    median = np.median(x, axis=0)
    reach = 1.5 * 1.4826 * np.median(np.abs(x - median), axis=0)
    np.testing.assert_allclose(
        cleaner.transform(normal), np.clip(x, median - reach, median + reach), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("method", ["iqr", "mad"])
def test_a_spread_of_zero_neither_collapses_a_column_nor_lets_outliers_pass(method: str) -> None:
    """60% zeros have a MAD of 0; a fifth of non-zero values has an IQR of 0."""
    rng = np.random.default_rng(0)
    sparse = np.where(rng.random(1_000) < 0.8, 0.0, rng.normal(10.0, 1.0, size=1_000))
    sparse[7] = 1e6
    binary = (rng.random(1_000) < 0.01).astype(float)
    cleaner = FeatureCleaner(outlier_method=method).fit(columns(sparse, binary))
    clean = cleaner.transform(columns(sparse, binary))
    assert len(np.unique(clean[:, 0])) > 150
    assert 12.0 < clean[7, 0] < 200.0
    assert np.array_equal(clean[:, 1], binary.astype(np.float32))
    assert cleaner.report_.features_out == 2


def test_caps_of_a_spread_of_zero_are_judged_off_the_median() -> None:
    options = {"percentile_range": (0.5, 99.5), "iqr_multiplier": 3.0, "mad_threshold": 5.0}
    rows = np.array([[1.0, 4.0], [1.0, 4.0], [1.0, 4.0], [1.0, 4.0], [1.0, 4.0], [3.0, 4.0]])
    for method, reach in (("iqr", 3.0 * 2.0 * 2.0), ("mad", 5.0 * 1.4826 * 2.0)):
        lower, upper = outlier_caps(rows, method, **options)
        np.testing.assert_allclose(lower, [1.0 - reach, -np.inf])
        np.testing.assert_allclose(upper, [1.0 + reach, np.inf])


def test_a_column_that_capping_makes_constant_is_dropped_and_says_so(normal: Matrix) -> None:
    rare = np.zeros(400)
    rare[5] = 3.0
    cleaner = FeatureCleaner().fit(columns(*normal.T, rare), names=list("abcdef"))
    assert dropped(cleaner, "zero variance") == {"f": "constant once its outliers are capped"}


def test_zero_variance_in_any_units(normal: Matrix) -> None:
    x = normal[:, 0].astype(np.float64)
    rng = np.random.default_rng(1)
    noise = 1e6 + 0.06 * rng.integers(0, 2, size=400)
    cleaner = FeatureCleaner(outlier_method="none").fit(
        columns(np.full(400, 0.1), 1e-7 * x, 1e-9 * normal[:, 1], noise, 1e5 * normal[:, 2] + 1e6),
        names=["constant", "small", "tiny", "rounding", "large"],
    )
    assert cleaner.get_feature_names_out().tolist() == ["small", "large"]
    reasons = dropped(cleaner, "zero variance")
    assert reasons["constant"] == "constant"
    assert reasons["tiny"].endswith("<= 1e-16")
    assert reasons["rounding"].startswith("standard deviation 0.03")
    raised = FeatureCleaner(outlier_method="none", variance_threshold=1e-10)
    assert raised.fit(columns(1e-7 * x, x**2)).kept_.tolist() == [1]


def test_extreme_variance_needs_both(normal: Matrix) -> None:
    spikes = np.where(np.arange(400) % 200 == 0, 1e7, 0.0)
    cleaner = FeatureCleaner(outlier_method="none").fit(
        columns(1e9 * normal[:, 0], spikes, 1e-6 * spikes, 1e9 + 1e7 * normal[:, 1]),
        names=["wide", "wide and spiky", "spiky", "far"],
    )
    assert cleaner.get_feature_names_out().tolist() == ["wide", "spiky", "far"]
    reason = dropped(cleaner, "extreme variance")["wide and spiky"]
    assert reason == "variance 4.98e+11 > 1e+10 and coefficient of variation 14.1 > 10"


def test_of_duplicates_the_most_informative_stays(normal: Matrix) -> None:
    x = normal[:, 0].astype(np.float64)
    holed = 3.0 - 2.0 * x
    holed[:3] = np.nan
    coarse = np.round(x, 1)
    table = columns(coarse, holed, x, 5.0 * x + 1.0, normal[:, 1])
    cleaner = FeatureCleaner(outlier_method="none").fit(
        table, names=["coarse", "holed", "x", "again", "other"]
    )
    assert cleaner.get_feature_names_out().tolist() == ["x", "other"]
    reasons = dropped(cleaner, "duplicates")
    assert list(reasons) == ["coarse", "holed", "again"]
    assert all(reason.endswith("with x") for reason in reasons.values())
    # Filled values count before distinct ones.
    pair = FeatureCleaner(outlier_method="none").fit(table[:, :2], names=["coarse", "holed"])
    assert pair.get_feature_names_out().tolist() == ["coarse"]
    keeps = FeatureCleaner(outlier_method="none", deduplicate_threshold=1.0).fit(table)
    assert keeps.report_.features_out == 5


def test_every_dropped_duplicate_has_a_kept_twin() -> None:
    walk = np.cumsum(np.random.default_rng(2).normal(size=(400, 30)), axis=1)
    cleaner = FeatureCleaner(outlier_method="none", deduplicate_threshold=0.9).fit(walk)
    strength = np.abs(np.corrcoef(walk.T))
    kept = cleaner.kept_
    assert (strength[np.ix_(kept, kept)][~np.eye(len(kept), dtype=bool)] <= 0.9).all()
    others = np.setdiff1d(np.arange(30), kept)
    assert len(others) > 0
    assert (strength[np.ix_(others, kept)].max(axis=1) > 0.9).all()


def test_capping_comes_before_the_filters() -> None:
    """Seen raw, one shared spike makes all columns duplicates of each other."""
    x = np.random.default_rng(0).normal(size=(500, 4))
    x[17] = 1e6
    assert FeatureCleaner().fit(x).report_.features_out == 4
    assert FeatureCleaner(outlier_method="none").fit(x).report_.features_out == 1


@pytest.mark.parametrize(("name", "kept"), [("bankruptcy", 60), ("mfeat", 624)])
def test_real_sets_keep_most_columns(name: str, kept: int) -> None:
    path = DATA / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"shared/data/{name}.npz is not on this machine")
    features = np.load(path)["features"]
    training, validation = split_rows(len(features), 0.2, seed=0)
    cleaner = FeatureCleaner().fit(features[training])
    assert cleaner.report_.features_out == kept
    clean = cleaner.transform(features[validation])
    assert clean.shape == (len(validation), kept)
    assert np.isfinite(clean).all()
