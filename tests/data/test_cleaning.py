"""Cleaning: the order of the steps, each step, what is reported, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.base import clone

from spinlock.analysis.statistics import accumulate
from spinlock.data.cleaning import FeatureCleaner
from spinlock.data.cleaning_report import CleaningReport
from spinlock.data.split import split_rows
from spinlock.data.table import FeatureTable
from spinlock.errors import CheckpointError, ConfigError, DataError

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


def test_only_training_rows_decide(normal: Matrix) -> None:
    cleaner = FeatureCleaner().fit(normal)
    fresh = np.full((2, 5), 1e9, dtype=np.float32)
    fresh[1] = np.nan
    clean = cleaner.transform(fresh)
    assert np.array_equal(clean[0], cleaner.repair_.upper)
    assert np.array_equal(clean[1], cleaner.repair_.medians)
    assert np.isnan(fresh[1]).all(), "transform must not write into its input"


def test_disabled_passes_everything_through(normal: Matrix) -> None:
    x = columns(*normal.T, np.ones(400), normal[:, 0])
    cleaner = FeatureCleaner(enabled=False).fit(x, names=list("abcdefg"))
    assert np.array_equal(cleaner.transform(x), x)
    assert str(cleaner.report_) == "cleaning: 7 -> 7 columns, fitted on 400 rows"
    x[4, 2] = np.nan
    for call in (cleaner.transform, clone(cleaner).fit):
        with pytest.raises(
            DataError, match=r"not finite.*: (x2|c) \(1\).*feature_cleaning.enabled"
        ):
            call(x)


@pytest.mark.parametrize("method", ["percentile", "iqr", "mad", "none"])
def test_blocks_give_the_same_as_the_whole(normal: Matrix, method: str) -> None:
    x = columns(*normal.T, np.ones(400), normal[:, 0] * 2.0)
    x[::9, 3] = np.nan
    whole = FeatureCleaner(outlier_method=method).fit(x)
    blocks = FeatureCleaner(outlier_method=method, block_rows=33).fit(x)
    assert np.array_equal(blocks.transform(x), whole.transform(x))
    assert blocks.report_ == whole.report_
    parts = [whole.transform(part) for part in np.array_split(x, 7)]
    assert np.array_equal(np.concatenate(parts), whole.transform(x))
    assert whole.transform(x[:0]).shape == (0, 5)


def test_the_passes_merge(normal: Matrix) -> None:
    """What a cluster does: parts of each pass on several workers, merged in any order."""
    x = columns(*normal.T, normal[:, 0] * 2.0)
    x[::9, 3] = np.nan
    names = tuple("abcdef")
    whole = FeatureCleaner(sample_rows=100).fit(x, names=names)

    cleaner = FeatureCleaner(sample_rows=100)
    spans = [(300, 400), (0, 50), (50, 300)]
    first = cleaner.raw_pass()
    for a, b in spans:
        first.merge(cleaner.raw_pass().update(x[a:b], a))
    raw = first.finalise()
    repair = cleaner.plan_repair(raw)
    second = cleaner.repaired_pass(repair)
    for a, b in spans:
        second.merge(cleaner.repaired_pass(repair).update(x[a:b], a))
    cleaner.conclude(names, raw, repair, second.finalise())
    assert np.array_equal(cleaner.transform(x), whole.transform(x))
    assert cleaner.report_ == whole.report_


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(2, 30), st.integers(1, 5)),
        elements=st.floats(width=32) | st.integers(-2, 2).map(float),
    ),
    st.sampled_from(["percentile", "iqr", "mad", "none"]),
)
def test_any_matrix_becomes_finite_and_varying_or_is_refused(x: Matrix, method: str) -> None:
    cleaner = FeatureCleaner(outlier_method=method)
    try:
        clean = cleaner.fit_transform(x)
    except DataError:
        return
    assert clean.dtype == np.float32
    assert clean.flags.c_contiguous
    assert np.isfinite(clean).all()
    assert (clean.min(axis=0) < clean.max(axis=0)).all()
    report = cleaner.report_
    assert clean.shape == (len(x), report.features_out)
    assert report.features_out + len(report.dropped) == report.features_in == x.shape[1]


def test_state_round_trip(normal: Matrix) -> None:
    x = columns(*normal.T, np.ones(400))
    x[3, 0] = np.nan
    cleaner = FeatureCleaner(percentile_range=(1, 99), seed=4).fit(x, names=list("abcdef"))
    state = cleaner.to_state()
    plain = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
    arrays = {k: v for k, v in state.items() if isinstance(v, np.ndarray)}
    again = FeatureCleaner.from_state({**json.loads(json.dumps(plain)), **arrays})
    assert np.array_equal(again.transform(x), cleaner.transform(x))
    assert again.report_ == cleaner.report_
    assert again.get_feature_names_out().tolist() == list("abcde")
    assert again.get_params() == {**cleaner.get_params(), "percentile_range": [1.0, 99.0]}
    assert again.n_features_in_ == 6


def test_damaged_states_are_refused(normal: Matrix) -> None:
    state = FeatureCleaner().fit(normal).to_state()
    with pytest.raises(CheckpointError, match="lacks medians"):
        FeatureCleaner.from_state({k: v for k, v in state.items() if k != "medians"})
    for change in (
        {"kept": np.array([0, 1, 2, 3, 9])},
        {"kept": np.array([1, 0, 2, 3, 4])},
        {"lower": np.zeros(4)},
        {"parameters": {"unheard_of": 1}},
    ):
        with pytest.raises(CheckpointError, match="contradicts itself"):
            FeatureCleaner.from_state({**state, **change})


def test_other_columns_are_refused(normal: Matrix) -> None:
    names = tuple(f"f::{i}" for i in range(5))
    table = FeatureTable(normal, names, ("f",) * 5)
    cleaner = FeatureCleaner().fit(table)
    assert cleaner.get_feature_names_out().tolist() == list(names)
    assert np.array_equal(cleaner.transform(table), cleaner.transform(normal))
    with pytest.raises(DataError, match="fitted on 5 columns, got 4"):
        cleaner.transform(normal[:, :4])
    with pytest.raises(DataError, match="same in other order"):
        cleaner.transform(table.take_columns([1, 0, 2, 3, 4]))
    other = FeatureTable(normal, (*names[:4], "f::x"), ("f",) * 5)
    with pytest.raises(DataError, match="not among them: f::4"):
        cleaner.transform(other)
    with pytest.raises(DataError, match="input_features"):
        cleaner.get_feature_names_out(["a"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("outlier_method", "zscore"),
        ("percentile_range", [99.0, 1.0]),
        ("percentile_range", [1.0]),
        ("percentile_range", [0.0, 101.0]),
        ("iqr_multiplier", 0.0),
        ("mad_threshold", -1.0),
        ("variance_threshold", -1e-9),
        ("max_variance_threshold", 0.0),
        ("max_cv_threshold", float("nan")),
        ("deduplicate_threshold", 1.5),
        ("sample_rows", 1),
        ("block_rows", 0),
    ],
)
def test_parameters_out_of_range(normal: Matrix, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"feature_cleaning\.{key} is .*expected"):
        FeatureCleaner(**{key: value}).fit(normal)


def test_nothing_left_says_which_threshold_to_relax(normal: Matrix) -> None:
    rare = np.zeros((400, 2))
    rare[5] = 3.0
    with pytest.raises(DataError, match=r"none of the 2 .*2 of them once capped.*percentile_range"):
        FeatureCleaner().fit(rare)
    with pytest.raises(DataError, match=r"5 without variance .*variance_threshold \(now 1e\+06\)"):
        FeatureCleaner(variance_threshold=1e6).fit(normal)
    with pytest.raises(DataError, match=r"5 with extreme.*raise max_variance_threshold"):
        FeatureCleaner(max_variance_threshold=1e-6, max_cv_threshold=1e-6).fit(normal)
    with pytest.raises(DataError, match="none of the 3 columns holds a finite value"):
        FeatureCleaner().fit(np.full((4, 3), np.nan))
    with pytest.raises(DataError, match="Check the data set"):
        FeatureCleaner().fit(np.ones((4, 3)))


def test_data_that_cannot_be_used(normal: Matrix) -> None:
    with pytest.raises(DataError, match="0 rows"):
        FeatureCleaner().fit(normal[:0])
    with pytest.raises(DataError, match="text"):
        FeatureCleaner().fit(np.array([["a"], ["b"]]))
    with pytest.raises(DataError, match="shape"):
        FeatureCleaner().fit(normal[0])
    with pytest.raises(DataError, match="as many different names"):
        FeatureCleaner().fit(normal, names=["a"])
    with pytest.raises(DataError, match="5 columns came with 1 names"):
        FeatureCleaner().fit_blocks(lambda: [normal], ["a"])


def test_the_report_lists_and_survives_plain_types(normal: Matrix) -> None:
    x = columns(*normal.T, np.ones(400), np.zeros(400), normal[:, 0])
    x[3, 1] = np.nan
    report = FeatureCleaner(outlier_method="none").fit(x).report_
    assert CleaningReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert str(report) == (
        "cleaning: 8 -> 5 columns, fitted on 400 rows\n"
        "  non-finite values to the median: 1 value in 1 column changed\n"
        "  outliers capped (none): nothing to do\n"
        "  zero variance: 2 columns dropped\n"
        "    x5: constant\n"
        "    x6: constant\n"
        "  extreme variance: nothing to do\n"
        "  duplicates: 1 column dropped\n"
        "    x7: |r| = 1.0000 with x0"
    )
    assert "    ... and 1 more" in report.lines(max_names=1)


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
