"""What the parameters of ``FeatureTokenizer`` do, and what a run leaves behind."""

import signal
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from diagnosis_models import trained
from estimators import tokenizer
from spinlock.errors import ConfigError, DataError
from spinlock.estimator import FeatureTokenizer
from spinlock.tokens.codec import Codec
from spinlock.training.callbacks import Callback


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
    assert it.saved_.config.training.checkpoint_every_n_epochs == 10
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


def test_any_run_can_be_loaded(tmp_path: Path) -> None:
    saved = trained(tmp_path, {"shape": 4, "colour": 3})
    again = FeatureTokenizer.from_pretrained(tmp_path / "run")
    names = [*(f"shape::{i}" for i in range(4)), *(f"colour::{i}" for i in range(3))]
    assert again.feature_names_in_.tolist() == names
    rows = np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32)
    frame = pd.DataFrame(rows, columns=names)
    expected = Codec(saved).encode(rows)
    np.testing.assert_array_equal(again.transform(frame[names[::-1]]), expected)
    assert again.fit(frame).n_features_in_ == 7


def test_an_interrupt_ends_fit(frame: pd.DataFrame, tmp_path: Path) -> None:
    class CtrlC(Callback):
        def on_step_end(self, epoch: int, step: int) -> None:
            if (epoch, step) == (2, 1):
                signal.raise_signal(signal.SIGINT)

    it = tokenizer(callbacks=[CtrlC()], checkpoint_dir=tmp_path / "run", num_epochs=5)
    with pytest.raises(KeyboardInterrupt):
        it.fit(frame)
    assert not hasattr(it, "model_")
    assert len(FeatureTokenizer.from_pretrained(tmp_path / "run").history_) >= 1


def test_a_failed_fit_leaves_the_old_one(fitted: FeatureTokenizer, frame: pd.DataFrame) -> None:
    before = fitted.transform(frame)
    with pytest.raises(ConfigError):
        fitted.set_params(num_epochs=0).fit(frame)
    np.testing.assert_array_equal(fitted.transform(frame), before)
