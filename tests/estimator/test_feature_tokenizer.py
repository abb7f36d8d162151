"""``FeatureTokenizer``: fit, transform and back on frames of every kind."""

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import spinlock
from estimators import tokenizer
from spinlock.data.table import FeatureTable
from spinlock.errors import DataError, SpinlockError
from spinlock.estimator import FeatureTokenizer


def test_the_public_name() -> None:
    assert spinlock.FeatureTokenizer is FeatureTokenizer


def test_five_lines(frame: pd.DataFrame, tmp_path: Path) -> None:
    tokens = (it := tokenizer()).fit_transform(frame)
    decoded = it.inverse_transform(tokens)
    it.save_pretrained(tmp_path / "folder")
    again = FeatureTokenizer.from_pretrained(tmp_path / "folder")
    assert decoded.shape == frame.shape
    np.testing.assert_array_equal(again.transform(frame), tokens)


def test_what_fit_leaves(fitted: FeatureTokenizer, frame: pd.DataFrame) -> None:
    assert fitted.n_features_in_ == 6
    assert fitted.feature_names_in_.tolist() == list(frame.columns)
    assert fitted.categories_ == {
        "shape": ["shape::area", "shape::width", "shape::height"],
        "features": ["age", "income"],
    }
    assert [category.name for category in fitted.plan_.categories] == ["shape", "features"]
    assert len(fitted.history_) == 12
    assert fitted.metrics_.rows == 12
    assert not fitted.model_.training
    names = fitted.get_feature_names_out().tolist()
    assert names == [f"{c}/L{level}" for c in ("shape", "features") for level in range(3)]
    assert tuple(names) == fitted.contract_.quantizers
    assert fitted.get_feature_names_out(frame.columns).tolist() == names


def test_tokens_stand_for_the_rows(fitted: FeatureTokenizer, frame: pd.DataFrame) -> None:
    tokens = fitted.transform(frame)
    assert tokens.dtype == np.uint8
    assert (tokens < fitted.contract_.codebook_sizes).all()
    decoded = fitted.inverse_transform(tokens)
    assert decoded.dtype == np.float32
    kept = [0, 1, 2, 3, 4]
    spread = np.nanstd(frame.to_numpy(), axis=0)[kept]
    error = np.nanmean(np.square((decoded - frame.to_numpy())[:, kept] / spread))
    assert error < 0.5
    np.testing.assert_array_equal(decoded[:, 5], 7.0)
    assert -0.5 < fitted.score(frame) < 0


KINDS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "polars": pl.from_pandas,
    "arrow": pa.Table.from_pandas,
    "nullable": lambda f: f.convert_dtypes(),
    "table": lambda f: FeatureTable(
        f.to_numpy(),
        tuple(n if "::" in n else f"features::{n}" for n in f.columns),
        tuple(n.partition("::")[0] if "::" in n else "features" for n in f.columns),
    ),
    "other order": lambda f: f[f.columns[::-1]],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_in_any_frame(
    kind: str, fitted: FeatureTokenizer, frame: pd.DataFrame
) -> None:
    tokens = fitted.transform(KINDS[kind](frame))
    np.testing.assert_array_equal(tokens, fitted.transform(frame))


def test_arrays_go_by_position_with_a_warning(
    fitted: FeatureTokenizer, frame: pd.DataFrame
) -> None:
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        tokens = fitted.transform(frame.to_numpy())
    np.testing.assert_array_equal(tokens, fitted.transform(frame))
    unnamed = tokenizer().fit(frame.to_numpy())
    assert not hasattr(unnamed, "feature_names_in_")
    named = [name for names in unnamed.categories_.values() for name in names]
    assert sorted(named) == ["x0", "x1", "x2", "x3", "x4"]
    with pytest.warns(UserWarning, match="fitted without feature names"):
        unnamed.transform(frame)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="age"), "missing: age"),
        (lambda f: f.assign(extra=1), "not expected: extra"),
        (lambda f: f.rename(columns={"age": "Age"}), "age (is Age meant?)"),
        (lambda f: f.assign(age="old", income=pd.Categorical(["x"] * len(f))), "'income' (categ"),
        (lambda f: f.to_numpy()[:, :2], "X has 2 features, but FeatureTokenizer is expecting 6"),
        (lambda f: pd.concat([f, f[["age"]]], axis=1), "more than once: features::age"),
    ],
    ids=["missing", "extra", "misspelt", "types", "width", "twice"],
)
def test_other_columns_are_named(
    change: Callable[[pd.DataFrame], Any], says: str, fitted: FeatureTokenizer, frame: pd.DataFrame
) -> None:
    changed = change(frame)
    warnings.simplefilter("ignore", UserWarning)  # an array has no names
    with pytest.raises(DataError) as caught:
        fitted.transform(changed)
    assert says in str(caught.value)


def test_set_output(fitted: FeatureTokenizer, frame: pd.DataFrame) -> None:
    tokens = fitted.set_output(transform="pandas").transform(frame)
    assert list(tokens.columns) == list(fitted.get_feature_names_out())
    assert (tokens.dtypes == np.uint8).all()
    decoded = fitted.inverse_transform(tokens)
    assert decoded.index.equals(frame.index)
    assert list(decoded.columns) == list(frame.columns)
    shuffled = fitted.inverse_transform(tokens[tokens.columns[::-1]])
    pd.testing.assert_frame_equal(shuffled, decoded)
    fitted.set_output(transform="polars")
    assert fitted.inverse_transform(fitted.transform(frame)).columns == list(frame.columns)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t + 200,
        lambda t: t.astype(np.int64) - 1,
        lambda t: t[:, :2],
        lambda t: t + 0.5,
        lambda t: np.full(t.shape, np.nan),
        lambda t: t.astype(str),
        lambda t: t[0],
    ],
    ids=["large", "negative", "narrow", "fractions", "nan", "text", "1d"],
)
def test_tokens_that_are_none(
    change: Callable[[Any], Any], fitted: FeatureTokenizer, frame: pd.DataFrame
) -> None:
    with pytest.raises(SpinlockError, match="token"):
        fitted.inverse_transform(change(fitted.transform(frame)))


def test_whole_floats_are_tokens(fitted: FeatureTokenizer, frame: pd.DataFrame) -> None:
    tokens = fitted.transform(frame)
    np.testing.assert_array_equal(
        fitted.inverse_transform(tokens.astype(np.float64)), fitted.inverse_transform(tokens)
    )


def test_no_rows_give_no_tokens(fitted: FeatureTokenizer, frame: pd.DataFrame) -> None:
    tokens = fitted.transform(frame.iloc[:0])
    assert tokens.shape == (0, 6)
    assert fitted.inverse_transform(tokens).shape == (0, 6)


def through_joblib(estimator: FeatureTokenizer) -> FeatureTokenizer:
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e)), through_joblib]
)
def test_copies(copied: Any, fitted: FeatureTokenizer, frame: pd.DataFrame) -> None:
    np.testing.assert_array_equal(copied(fitted).transform(frame), fitted.transform(frame))


def test_a_clone_is_not_fitted(fitted: FeatureTokenizer, frame: pd.DataFrame) -> None:
    cloned = clone(fitted)
    assert cloned.get_params() == fitted.get_params()
    for call in (cloned.transform, cloned.inverse_transform, cloned.score):
        with pytest.raises(NotFittedError):
            call(frame)
    with pytest.raises(NotFittedError):
        cloned.save_pretrained("nowhere")
    with pytest.raises(NotFittedError):
        cloned.get_feature_names_out()


def test_missing_values_come_back(frame: pd.DataFrame) -> None:
    holes = frame.copy()
    holes.iloc[::4, 3] = np.nan
    it = tokenizer(missing_indicators=True, num_epochs=30).fit(holes)
    assert "age@missing" in [name for names in it.categories_.values() for name in names]
    missing = np.isnan(it.inverse_transform(it.transform(holes))[:, 3])
    assert (missing == holes["age"].isna()).mean() > 0.9
    plain = tokenizer().fit(holes)
    assert not np.isnan(plain.inverse_transform(plain.transform(holes))).any()


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(0).normal(size=(10, 4)),
        np.random.default_rng(0).normal(size=(20, 1)),
        np.random.default_rng(0).normal(size=(2, 3)),
        np.c_[np.ones(20), np.full(20, np.nan), np.arange(20)],
    ],
    ids=["10 rows", "1 column", "2 rows", "constant and empty columns"],
)
def test_small_inputs(rows: Any) -> None:
    it = tokenizer()
    tokens = it.fit_transform(rows)
    assert len(tokens) == len(rows)
    assert it.inverse_transform(tokens).shape == rows.shape
