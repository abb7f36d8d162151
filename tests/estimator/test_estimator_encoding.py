"""How ``FeatureTokenizer`` encodes: what ``score`` says of it, and that saving keeps it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

from estimators import tokenizer
from spinlock.errors import CheckpointError, DataError
from spinlock.estimator import FeatureTokenizer
from spinlock.tokens.codec import Codec
from spinlock.training.checkpoint import load_model, save_model
from spinlock.training.manifest import MANIFEST, manifest_of

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "beam": {"beam": 4},
    "sweeps": {"sweeps": 2},
    "bounded": {"sweeps": 2, "own_error_limit": 1.05},
    "restarts": {"sweeps": 1, "restarts": 4},
    "all": {"beam": 3, "sweeps": 2, "own_error_limit": 1.5, "restarts": 2},
}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Eight columns with two factors, about 1e3 apart in their units."""
    rng = np.random.default_rng(3)
    mixed = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 8)) + 0.4 * rng.normal(size=(120, 8))
    return pd.DataFrame(mixed * np.geomspace(1, 1e3, 8), columns=list("abcdefgh"))


@pytest.fixture(scope="module")
def learned(rows: pd.DataFrame) -> FeatureTokenizer:
    # Without caps z-scores of decoded rows are what the decoder gave.
    halves = {"left": list("abcd"), "right": list("efgh")}
    form = {"outlier_method": "none", "category_assignment": halves, "num_epochs": 15}
    return tokenizer(compression_ratios=[0.5, 1.0], **form).fit(rows)


def set_to(it: FeatureTokenizer, way: dict[str, Any]) -> FeatureTokenizer:
    neutral = {"beam": 1, "sweeps": 0, "own_error_limit": None, "restarts": 0}
    return it.set_params(**{**neutral, **way})


@pytest.mark.parametrize("way", WAYS)
def test_transform_encodes_as_asked(way: str, learned: FeatureTokenizer, rows: Any) -> None:
    tokens = set_to(learned, WAYS[way]).transform(rows)
    expected = Codec(learned.saved_, **WAYS[way]).encode(rows.to_numpy())
    np.testing.assert_array_equal(tokens, expected)
    if way != "plain":
        assert (tokens != set_to(learned, {}).transform(rows)).any()


@pytest.mark.parametrize("way", WAYS)
def test_score_is_of_what_transform_gives(way: str, learned: FeatureTokenizer, rows: Any) -> None:
    set_to(learned, WAYS[way])
    decoded = learned.inverse_transform(learned.transform(rows))
    preprocessing = learned.saved_.preprocessing
    x = preprocessing.transform(rows.to_numpy(dtype=np.float32)).astype(np.float64)
    squared = np.square(preprocessing.transform(decoded) - x).mean(0)
    expected = np.mean([squared[:4].mean(), squared[4:].mean()])
    assert learned.score(rows) == pytest.approx(-expected, rel=1e-4)


def test_a_grid_search_tells_ways_to_encode_apart(rows: pd.DataFrame) -> None:
    it = tokenizer(compression_ratios=[0.5, 1.0], num_epochs=10)
    search = GridSearchCV(it, {"sweeps": [0, 2]}, cv=2).fit(rows)
    plain, swept = search.cv_results_["mean_test_score"]
    assert swept > plain
    assert search.best_params_ == {"sweeps": 2}


def test_no_rows_have_no_score(learned: FeatureTokenizer, rows: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="at least 1 row to score"):
        learned.score(rows.iloc[:0])


@pytest.mark.parametrize("way", WAYS)
def test_saving_keeps_the_way(
    way: str, learned: FeatureTokenizer, rows: pd.DataFrame, tmp_path: Path
) -> None:
    folder = set_to(learned, WAYS[way]).save_pretrained(tmp_path / "saved")
    again = FeatureTokenizer.from_pretrained(folder)
    before, after = learned.get_params(), again.get_params()
    for name in ("beam", "sweeps", "own_error_limit", "restarts"):
        assert after[name] == before[name]
    np.testing.assert_array_equal(again.transform(rows), learned.transform(rows))
    assert again.score(rows) == learned.score(rows)


def test_numpys_numbers_are_kept_as_well(learned: FeatureTokenizer, tmp_path: Path) -> None:
    way = {"beam": np.int64(2), "sweeps": np.int8(1), "own_error_limit": np.float32(1.5)}
    again = FeatureTokenizer.from_pretrained(set_to(learned, way).save_pretrained(tmp_path / "s"))
    assert (again.beam, again.sweeps, again.own_error_limit, again.restarts) == (2, 1, 1.5, 0)


def test_a_folder_that_says_nothing_means_the_defaults(
    learned: FeatureTokenizer, tmp_path: Path
) -> None:
    mine = set_to(learned, WAYS["all"]).save_pretrained(tmp_path / "mine")
    old = save_model(load_model(mine), tmp_path / "old")
    again = FeatureTokenizer.from_pretrained(old)
    assert (again.beam, again.sweeps, again.own_error_limit, again.restarts) == (1, 0, None, 0)
    # Beside the one file, both write the same.
    written = {p.name: p.read_bytes() for p in mine.iterdir() if p.name != MANIFEST}
    assert written.pop("encoding.json")
    assert written == {p.name: p.read_bytes() for p in old.iterdir() if p.name != MANIFEST}
    assert set_to(learned, {}).save_pretrained(mine) == mine  # its own folder is replaced


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"beam": 1}', "x", '{"beam":1,"sweeps":0,"own_error_limit":"x","restarts":0}',
     '{"beam":1,"sweeps":null,"own_error_limit":null,"restarts":0}'],
)  # fmt: skip
def test_a_way_that_is_none_is_one_message(
    text: str, learned: FeatureTokenizer, tmp_path: Path
) -> None:
    folder = learned.save_pretrained(tmp_path / "saved")
    (folder / "encoding.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"encoding.json' is damaged"):
        FeatureTokenizer.from_pretrained(folder)
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != MANIFEST}
    (folder / MANIFEST).write_bytes(manifest_of(files))
    with pytest.raises(CheckpointError, match=r"encoding.json'.*use another"):
        FeatureTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"compression_ratios": np.array([0.5, 1.0])}, {"compression_ratios": [0.5, 1.0]}),
        ({"missing_indicators": np.True_}, {"missing_indicators": True}),
        ({"num_epochs": np.int16(2)}, {"num_epochs": 2}),
        ({"learning_rate": np.float32(0.25)}, {"learning_rate": 0.25}),
        (
            {"category_assignment": {"a": np.array(["x0", "x2"]), "b": ["*"]}},
            {"category_assignment": {"a": ["x0", "x2"], "b": ["*"]}},
        ),
        (
            {"config": {"training": {"validation_split": np.array(0.25)}}},
            {"config": {"training": {"validation_split": 0.25}}},
        ),
    ],
    ids=["array", "bool", "int", "float", "categories", "config"],
)
def test_numpys_values_are_taken_as_pythons(
    given: dict[str, Any], same: dict[str, Any], rows: pd.DataFrame
) -> None:
    holed = rows.to_numpy(copy=True)
    holed[::5, 1] = np.nan
    np.testing.assert_array_equal(
        tokenizer(**given).fit_transform(holed), tokenizer(**same).fit_transform(holed)
    )
