"""From cleaned rows back to all raw columns: constants, duplicates, missing values."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from spinlock.data.cleaning import FeatureCleaner
from spinlock.data.cleaning_parameters import check_parameters
from spinlock.errors import CheckpointError, ConfigError, DataError

Matrix = NDArray[np.float32]
NAMES = ("a::x", "a::twice", "a::turned", "b::constant", "b::void", "b::y", "b::wild")


def rows(count: int = 400, seed: int = 0) -> Matrix:
    """Two free columns, two copies of the first, a constant, nothing, and a huge heavy tail."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, count))
    wild = np.zeros(count)
    wild[: max(1, count // 200)] = 1e12
    constant, void = np.full(count, 2.5), np.full(count, np.nan)
    return np.stack([x, 3 * x + 1, 5 - 2 * x, constant, void, y, wild], axis=1).astype(np.float32)


def test_every_raw_column_comes_back() -> None:
    raw = rows()
    cleaner = FeatureCleaner(outlier_method="none").fit(raw, names=NAMES)
    assert cleaner.get_feature_names_out().tolist() == ["a::x", "b::y"]
    back = cleaner.inverse_transform(cleaner.transform(raw))
    np.testing.assert_array_equal(back[:, [0, 3, 5]], raw[:, [0, 3, 5]])
    np.testing.assert_allclose(back[:, 1:3], raw[:, 1:3], rtol=1e-5, atol=1e-5)
    assert np.isnan(back[:, 4]).all()
    assert (back[:, 6] == 0).all()
    assert cleaner.unrecoverable_ == ("b::void", "b::wild")


@given(st.integers(0, 10_000), st.floats(0.0, 0.1))
def test_a_near_duplicate_comes_back_within_its_correlation(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=300)
    copy = 7 - 4 * x + 4 * noise * rng.normal(size=300)
    raw = np.stack([x, copy], axis=1).astype(np.float32)
    cleaner = FeatureCleaner(outlier_method="none", deduplicate_threshold=0.99).fit(raw)
    back = cleaner.inverse_transform(cleaner.transform(raw))
    if len(cleaner.kept_) == 2:
        np.testing.assert_array_equal(back, raw)
        return
    r = np.corrcoef(raw.T.astype(np.float64))[0, 1]
    dropped = 1 - int(cleaner.kept_[0])
    share = np.var(back[:, dropped] - raw[:, dropped]) / np.var(raw[:, dropped])
    assert share == pytest.approx(1 - r**2, rel=1e-3, abs=1e-9)


def test_a_fit_in_blocks_restores_alike() -> None:
    raw = rows()
    whole = FeatureCleaner(missing_indicators=True).fit(raw)
    parts = FeatureCleaner(missing_indicators=True).fit_blocks(
        lambda: np.split(raw, [100, 101, 300]), whole.feature_names_in_
    )
    cleaned = whole.transform(raw)
    np.testing.assert_allclose(parts.inverse_transform(cleaned), whole.inverse_transform(cleaned))


def test_missing_values_are_told_and_come_back() -> None:
    rng = np.random.default_rng(3)
    raw = rng.normal(size=(500, 5)).astype(np.float32)
    raw[:, 4] = 1.0
    together, alone, rare = rng.random(500) < 0.3, rng.random(500) < 0.2, np.arange(500) == 7
    raw[together, 0] = raw[together, 1] = raw[alone, 4] = raw[rare, 2] = np.nan
    names = [f"f::{i}" for i in range(5)]
    cleaner = FeatureCleaner(missing_indicators=True, outlier_method="none").fit(raw, names=names)
    assert cleaner.get_feature_names_out().tolist()[-2:] == ["f::0@missing", "f::4@missing"]
    assert cleaner.families_out(["f"] * 5) == ("f",) * 6
    cleaned = cleaner.transform(raw)
    assert cleaned.shape == (500, 6)
    np.testing.assert_array_equal(cleaned[:, 4], together)
    np.testing.assert_array_equal(cleaned[:, 5], alone)
    back = cleaner.inverse_transform(cleaned)
    expected = raw.copy()
    expected[rare, 2] = np.nanmedian(raw[:, 2])
    np.testing.assert_array_equal(back, expected)
    assert np.isfinite(FeatureCleaner().fit(raw).inverse_transform(cleaned[:, :4])).all()


def test_new_rows_may_miss_what_was_never_missed() -> None:
    raw = rows()
    cleaner = FeatureCleaner(missing_indicators=True, outlier_method="none").fit(raw)
    holes = raw.copy()
    holes[5, 0] = np.inf
    assert np.isfinite(cleaner.transform(holes)).all()


def test_states_round_trip_and_are_checked() -> None:
    raw = rows()
    raw[::4, 5] = np.nan
    cleaner = FeatureCleaner(missing_indicators=True).fit(raw, names=NAMES)
    state = cleaner.to_state()
    again = FeatureCleaner.from_state(state)
    cleaned = cleaner.transform(raw)
    np.testing.assert_array_equal(again.transform(raw), cleaned)
    np.testing.assert_array_equal(
        again.inverse_transform(cleaned), cleaner.inverse_transform(cleaned)
    )
    damaged: list[dict[str, Any]] = [
        state | {"restoration": state["restoration"] | {"source": np.full(7, 9)}},
        state | {"restoration": state["restoration"] | {"slope": np.ones(3)}},
        state | {"indicators": state["indicators"] | {"columns": np.array([12])}},
        state | {"indicators": state["indicators"] | {"teller": np.full(7, 5)}},
        {key: value for key, value in state.items() if key != "restoration"},
    ]
    for bad in damaged:
        with pytest.raises(CheckpointError):
            FeatureCleaner.from_state(bad)


def test_another_width_is_refused() -> None:
    cleaner = FeatureCleaner().fit(rows())
    with pytest.raises(DataError, match="makes 2"):
        cleaner.inverse_transform(rows())


def test_a_disabled_cleaner_changes_nothing() -> None:
    raw = rows()[:, [0, 1, 5]]
    cleaner = FeatureCleaner(enabled=False).fit(raw)
    np.testing.assert_array_equal(cleaner.inverse_transform(cleaner.transform(raw)), raw)


def test_parameters_out_of_range_are_named() -> None:
    with pytest.raises(ConfigError, match=r"feature_cleaning\.mad_threshold is -1"):
        check_parameters(FeatureCleaner(mad_threshold=-1))
    with pytest.raises(ConfigError, match=r"feature_cleaning\.missing_indicators is 'yes'"):
        check_parameters(FeatureCleaner(missing_indicators="yes"))  # type: ignore[arg-type]
