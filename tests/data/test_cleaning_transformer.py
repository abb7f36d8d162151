"""Cleaning as a transformer: blocks, merged passes, saved state, and what is refused."""

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from spinlock.data.cleaning import FeatureCleaner
from spinlock.data.cleaning_report import CleaningReport
from spinlock.data.normalisation import Normaliser
from spinlock.data.table import FeatureTable
from spinlock.errors import CheckpointError, ConfigError, DataError
from spinlock.training.state import flatten_state, restore_state

Matrix = NDArray[np.float32]


def columns(*values: Any) -> Matrix:
    return np.stack([np.asarray(v, dtype=np.float32) for v in values], axis=1)


@pytest.fixture
def normal() -> Matrix:
    return np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)


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


def test_disabled_refuses_what_float32_cannot_hold() -> None:
    """Such values are infinite in every table, and must not turn into anything finite here."""
    x = np.array([[1e39, 1.0], [1.0, 2.0]])
    with pytest.raises(DataError, match=r"not finite.*: x0 \(1\)"):
        FeatureCleaner(enabled=False).fit(x)
    cleaner = FeatureCleaner(enabled=False).fit(x[1:])
    with pytest.raises(DataError, match=r"not finite.*: x0 \(1\)"):
        cleaner.transform(x)


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
    second = cleaner.repaired_pass(repair, raw.moments)
    for a, b in spans:
        second.merge(cleaner.repaired_pass(repair, raw.moments).update(x[a:b], a))
    repaired = second.finalise()
    clean = repair.apply(x).astype(np.float64)
    np.testing.assert_allclose(repaired.mean_magnitude, np.abs(clean).mean(axis=0), rtol=1e-12)
    cleaner.conclude(names, raw, repair, repaired)
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
        # Nothing in it varied: beside a column that does it is taken.
        x = np.column_stack([x, np.arange(len(x), dtype=np.float32)])
        clean = cleaner.fit_transform(x)
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
    tree, tensors = flatten_state(state)
    again = FeatureCleaner.from_state(restore_state(json.loads(json.dumps(tree)), tensors))
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
    for report in ({}, {**state["report"], "steps": [{}]}, {**state["report"], "num_rows": "many"}):
        with pytest.raises(CheckpointError, match="cleaning report is damaged"):
            FeatureCleaner.from_state({**state, "report": report})


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
    for other_names in (["a"], list(names[::-1])):
        with pytest.raises(DataError, match="input_features"):
            cleaner.get_feature_names_out(other_names)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("outlier_method", "zscore"),
        ("percentile_range", [99.0, 1.0]),
        ("percentile_range", [1.0]),
        ("percentile_range", [0.0, 101.0]),
        ("iqr_multiplier", 0.0),
        ("iqr_multiplier", float("inf")),
        ("mad_threshold", -1.0),
        ("mad_threshold", float("inf")),
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
    with pytest.raises(
        DataError, match=r"variance_threshold \(now 1e-16\) below (\S+), the lar"
    ) as e:
        FeatureCleaner().fit(normal * np.float32(1e-9))
    below = float(re.search(r"below (\S+),", str(e.value))[1])
    assert len(FeatureCleaner(variance_threshold=0.99 * below).fit(normal * 1e-9).kept_) >= 1
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
    for enabled in (True, False):
        with pytest.raises(DataError, match="5 columns need as many different names; got 1"):
            FeatureCleaner(enabled=enabled).fit_blocks(lambda: [normal], ["a"])


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


class Frame:
    """The part of a DataFrame that the transformers look at."""

    def __init__(self, values: Matrix, names: list[Any]) -> None:
        self.values = values
        self.columns = names

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Matrix:
        return self.values


def test_data_frames_keep_their_names_and_their_order(normal: Matrix) -> None:
    names = ["features", "names", "c", "d", "e"]
    cleaner = FeatureCleaner().fit(Frame(normal, names))
    assert cleaner.get_feature_names_out().tolist() == names
    clean = cleaner.transform(Frame(normal, names))
    assert np.array_equal(clean, cleaner.transform(normal))
    normaliser = Normaliser().fit(Frame(normal, names))
    for step in (cleaner, normaliser):
        with pytest.raises(DataError, match="same in other order"):
            step.transform(Frame(normal, names[::-1]))
    # Columns that are numbered and not named are numbered here, too; names may come later.
    numbered = FeatureCleaner().fit(Frame(normal, list(range(5))))
    assert numbered.get_feature_names_out().tolist() == ["x0", "x1", "x2", "x3", "x4"]
    assert np.array_equal(numbered.transform(Frame(normal, names)), clean)


def test_a_pipeline_names_what_it_returns(normal: Matrix) -> None:
    x = columns(normal[:, 0], np.ones(400), normal[:, 1])
    pipeline = make_pipeline(FeatureCleaner(), Normaliser()).fit(x)
    assert pipeline.get_feature_names_out().tolist() == ["x0", "x2"]
    assert pipeline.get_feature_names_out(["a", "b", "c"]).tolist() == ["a", "c"]
    assert pipeline.transform(x).shape == (400, 2)


@pytest.mark.parametrize("step", [FeatureCleaner(), Normaliser()])
def test_an_unfitted_step_says_so(step: FeatureCleaner | Normaliser, normal: Matrix) -> None:
    for call in (lambda: step.transform(normal), step.get_feature_names_out, step.to_state):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            call()
