"""``FeatureTokenizer``: fit, transform and back on frames of every kind."""

import copy
import io
import pickle
import tempfile
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
from spinlock.data.table import FeatureTable
from spinlock.errors import ConfigError, DataError, SpinlockError
from spinlock.estimator import FeatureTokenizer
from spinlock.training.callbacks import Callback

NARROW = {"model": {"group_embedding_dim": 8, "group_hidden_dim": 8, "decoder_hidden_dim": 8}}


def tokenizer(**parameters: Any) -> FeatureTokenizer:
    return FeatureTokenizer(**{"num_epochs": 2, "config": NARROW, **parameters})


def columns(rows: int = 60) -> pd.DataFrame:
    """Two families of correlated columns, one constant, one hole."""
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, 3)) + 0.1 * rng.normal(size=(rows, 3))
    table = pd.DataFrame(10 * shape + 5, columns=["shape::area", "shape::width", "shape::height"])
    table["age"] = rng.normal(size=rows)
    table["income"] = 1e4 * rng.normal(size=rows)
    table["always"] = 7.0
    table.loc[3, "age"] = np.nan
    return table.set_index(np.arange(rows) + 100)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return columns()


@pytest.fixture(scope="module")
def _fitted(frame: pd.DataFrame) -> FeatureTokenizer:
    return tokenizer(category_assignment="families", num_epochs=12).fit(frame)


@pytest.fixture
def fitted(_fitted: FeatureTokenizer) -> FeatureTokenizer:
    return copy.deepcopy(_fitted)


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


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.ones((10, 2)), "3 without variance|2 without variance"),
        (np.full((10, 2), np.nan), "finite value"),
        (np.ones((1, 2)), "1 sample"),
        (np.ones((0, 2)), r"0 sample\(s\)"),
        (pd.DataFrame({"city": ["x"] * 9}), "'city' "),
    ],
    ids=["constant", "empty", "1 row", "no row", "text"],
)
def test_nothing_to_learn_from(rows: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        tokenizer().fit(rows)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"learning_rate": -1}, "training.learning_rate"),
        ({"strategy": "best"}, "unknown compression strategy 'best'"),
        ({"config": {"model": {"decy": 0.9}}}, "decy"),
        ({"config": 3}, "config: expected"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml"),
        ({"device": "tpu"}, "device"),
        ({"random_state": "x"}, "random"),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], says: str, frame: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=says):
        tokenizer(**parameters).fit(frame)


def test_parameters_win_over_the_configuration(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "base.yaml"
    path.write_text("dataset_path: x.npz\ntraining: {num_epochs: 50, batch_size: 16}")
    config = tokenizer(config=path, num_epochs=1).fit(frame).saved_.config
    assert (config.training.num_epochs, config.training.batch_size) == (1, 16)


def test_categories_by_hand(frame: pd.DataFrame, tmp_path: Path) -> None:
    by_hand = {"size": ["shape::*"], "person": ["income", "age"]}
    it = tokenizer(category_assignment=by_hand).fit(frame)
    expected = {
        "size": ["shape::area", "shape::width", "shape::height"],
        "person": ["age", "income"],
    }
    assert it.categories_ == expected
    again = FeatureTokenizer.from_pretrained(it.save_pretrained(tmp_path / "saved"))
    assert again.get_params()["category_assignment"] == expected
    np.testing.assert_array_equal(clone(again).fit_transform(frame), it.transform(frame))
    again.set_params(category_assignment="families").fit(frame)
    assert list(again.categories_) == ["shape", "features"]
    positions = tokenizer(category_assignment={"a": ["x0", 2], "b": ["*"]}).fit(frame.to_numpy())
    assert positions.categories_ == {"a": ["x0", "x2"], "b": ["x1", "x3", "x4"]}


@pytest.mark.parametrize(
    ("by_hand", "says"),
    [
        ({"a": ["ages", "*"]}, "ages"),
        ({"a": ["age"]}, "income"),
        ({"a": [9]}, "names column 9; there are 6"),
        ({"a": [None]}, "got None"),
        ({"a": 3.5}, "expected {category"),
    ],
)
def test_categories_that_cannot_be(by_hand: Any, says: str, frame: pd.DataFrame) -> None:
    with pytest.raises(ConfigError) as caught:
        tokenizer(category_assignment=by_hand).fit(frame)
    assert says in str(caught.value)


def test_the_seed_decides(frame: pd.DataFrame) -> None:
    def tokens(state: Any) -> Any:
        return tokenizer(random_state=state).fit_transform(frame)

    np.testing.assert_array_equal(tokens(3), tokens(np.int64(3)))
    drawn = np.random.RandomState(0)
    assert (tokens(drawn) != tokens(drawn)).any()


def test_nothing_stays_on_disk(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    class Stops(Callback):
        def on_train_begin(self, run: Any) -> None:
            raise KeyboardInterrupt(run)

    it = tokenizer().fit(frame)
    assert str(tmp_path) not in str(it.saved_.config)
    with pytest.raises(DataError):
        tokenizer().fit(np.ones((5, 2)))
    with pytest.raises(KeyboardInterrupt):
        tokenizer(callbacks=[Stops()]).fit(frame)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_checkpoints_where_asked(frame: pd.DataFrame, tmp_path: Path) -> None:
    it = tokenizer(checkpoint_dir=tmp_path / "run").fit(frame)
    again = FeatureTokenizer.from_pretrained(tmp_path / "run")
    np.testing.assert_array_equal(again.transform(frame), it.transform(frame))
    with pytest.warns(UserWarning, match="held another run"):
        it.fit(frame)


def test_callbacks_and_verbosity(frame: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    class Epochs(Callback):
        def on_epoch_end(self, record: Any) -> None:
            seen.append(record.epoch)

    tokenizer(callbacks=[Epochs()]).fit(frame)
    assert seen == [1, 2]
    assert capsys.readouterr().out == ""
    tokenizer(verbose=2).fit(frame)
    out = capsys.readouterr().out
    assert "epoch 2: loss" in out
    assert "held out" in out


def test_from_pretrained_has_the_runs_parameters(
    fitted: FeatureTokenizer, frame: pd.DataFrame, tmp_path: Path
) -> None:
    fitted.save_pretrained(tmp_path / "saved")
    again = FeatureTokenizer.from_pretrained(tmp_path / "saved", verbose=0)
    parameters = again.get_params()
    assert parameters["num_epochs"] == 12
    assert parameters["category_assignment"] == "families"
    assert parameters["checkpoint_dir"] is None
    assert again.feature_names_in_.tolist() == list(frame.columns)
    assert again.categories_ == fitted.categories_
    assert again.contract_ == fitted.contract_
    assert [r.losses for r in again.history_] == [r.losses for r in fitted.history_]
    refitted = clone(again).fit(frame)
    np.testing.assert_array_equal(refitted.transform(frame), fitted.transform(frame))


def test_a_failed_fit_leaves_the_old_one(fitted: FeatureTokenizer, frame: pd.DataFrame) -> None:
    before = fitted.transform(frame)
    with pytest.raises(ConfigError):
        fitted.set_params(num_epochs=0).fit(frame)
    np.testing.assert_array_equal(fitted.transform(frame), before)
