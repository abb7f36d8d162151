"""Normalisation: population z-scores, median and MAD, and the way back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.base import clone

from spinlock.analysis.statistics import Moments, RowReservoir
from spinlock.data.normalisation import Normaliser
from spinlock.errors import CheckpointError, ConfigError, DataError


@pytest.fixture
def features() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    scales = np.array([1.0, 1e-5, 3e5, 7.0])
    x = (rng.normal(size=(501, 4)) ** 3) * scales + np.array([0.0, 1.0, 1e6, -3.0])
    return x.astype(np.float32)


def test_standard_is_the_population_z_score(features: NDArray[np.float32]) -> None:
    x = features.astype(np.float64)
    normaliser = Normaliser().fit(features)
    z = normaliser.transform(features)
    assert z.dtype == np.float32
    assert z.flags.c_contiguous
    np.testing.assert_allclose(z, (x - x.mean(0)) / x.std(0), rtol=1e-6, atol=1e-6)


def test_mad_is_robust(features: NDArray[np.float32]) -> None:
    x = features.astype(np.float64)
    median = np.median(x, axis=0)
    mad = np.median(np.abs(x - median), axis=0)
    z = Normaliser("mad").fit(features).transform(features)
    np.testing.assert_allclose(z, (x - median) / (1.4826 * mad), rtol=1e-6, atol=1e-6)


def test_a_mad_of_zero_falls_back_to_the_standard_deviation_of_that_column() -> None:
    x = np.zeros((10, 3))
    x[:2, 0] = 4.0
    x[:, 1] = np.arange(10)
    normaliser = Normaliser("mad").fit(x)
    assert normaliser.scale_.tolist() == [np.std(x[:, 0]), 1.4826 * 2.5, 1.0]
    assert normaliser.center_.tolist() == [0.0, 4.5, 0.0]


@pytest.mark.parametrize("method", ["standard", "mad"])
def test_scales_that_are_rounding_become_one(method: str) -> None:
    steps = np.arange(9.0)
    x = np.stack([np.full(9, 5.0), 1.0 + 1e-9 * steps, 1e-12 + 1e-20 * steps, 1e-6 * steps], axis=1)
    scale = Normaliser(method).fit(x).scale_
    assert scale[:3].tolist() == [1.0, 1.0, 1.0]
    assert 1e-6 < scale[3] < 1e-5


@pytest.mark.parametrize("method", ["standard", "mad"])
@pytest.mark.parametrize("unit", [2.0**-30, 2.0**-70, 2.0**-80])
def test_columns_in_tiny_units_are_scaled(
    features: NDArray[np.float32], method: str, unit: float
) -> None:
    plain, tiny = Normaliser(method).fit(features), Normaliser(method).fit(features * unit)
    assert np.array_equal(tiny.scale_, plain.scale_ * unit)
    assert np.array_equal(tiny.transform(features * unit), plain.transform(features))


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.integers(1, 4)),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    st.sampled_from(["standard", "mad"]),
)
def test_the_way_back_is_exact_up_to_rounding(x: NDArray[np.float32], method: str) -> None:
    normaliser = Normaliser(method).fit(x)
    back = normaliser.inverse_transform(normaliser.transform(x)).astype(np.float64)
    exact = x.astype(np.float64)
    bound = 2.0**-23 * (np.abs(exact) + np.abs(exact - normaliser.center_))
    bound += 2.0**-149 * (1.0 + normaliser.scale_)
    assert (np.abs(back - exact) <= bound).all()


@pytest.mark.parametrize("method", ["standard", "mad"])
def test_blocks_and_merged_statistics_give_the_same(
    features: NDArray[np.float32], method: str
) -> None:
    whole = Normaliser(method).fit(features)
    blocks = Normaliser(method).fit_blocks(lambda: np.array_split(features, 7))
    left, right = Moments().update(features[200:]), Moments().update(features[:200])
    sample = RowReservoir().update(features[200:], 200)
    sample.merge(RowReservoir().update(features[:200], 0))
    merged = Normaliser(method).fit_statistics(
        left.merge(right).finalise(), sample.finalise(), whole.feature_names_in_
    )
    for other in (blocks, merged):
        np.testing.assert_allclose(other.center_, whole.center_, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(other.scale_, whole.scale_, rtol=1e-12)


def test_blocks_stream(features: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    normaliser = Normaliser().fit(features)
    whole = normaliser.transform(features)
    parts = [normaliser.transform(block) for block in np.array_split(features, 9)]
    assert np.array_equal(np.concatenate(parts), whole)
    monkeypatch.setattr("spinlock.data.column_normaliser._PIECE_BYTES", 8 * 4 * 13)
    assert np.array_equal(normaliser.transform(features), whole)
    assert normaliser.transform(features[:0]).shape == (0, 4)


def test_state_round_trip(features: NDArray[np.float32]) -> None:
    normaliser = Normaliser("mad", sample_rows=200, seed=3).fit(features, names=list("abcd"))
    again = Normaliser.from_state(normaliser.to_state())
    assert again.get_params() == normaliser.get_params()
    assert again.get_feature_names_out().tolist() == list("abcd")
    assert np.array_equal(again.transform(features), normaliser.transform(features))
    assert clone(again).get_params() == normaliser.get_params()


def test_damaged_states_are_refused(features: NDArray[np.float32]) -> None:
    state = Normaliser().fit(features).to_state()
    with pytest.raises(CheckpointError, match="lacks scale"):
        Normaliser.from_state({k: v for k, v in state.items() if k != "scale"})
    with pytest.raises(CheckpointError, match="contradicts itself"):
        Normaliser.from_state({**state, "scale": np.ones(3)})
    with pytest.raises(CheckpointError, match="contradicts itself"):
        Normaliser.from_state({**state, "scale": np.zeros(4)})
    with pytest.raises(CheckpointError, match="wrong"):
        Normaliser.from_state({**state, "parameters": {"wrong": 1}})


def test_results_beyond_float32_are_refused() -> None:
    x = np.array([[0.0, 1.0], [1e-7, 2.0], [2e-7, 3.0], [3.0e38, 4.0]])
    normaliser = Normaliser("mad").fit(x)
    with pytest.raises(DataError, match=r"x0 \(1\).*cap the columns' outliers"):
        normaliser.transform(x)
    with pytest.raises(DataError, match=r"x1 \(1\).*beyond float32"):
        normaliser.inverse_transform([[0.0, 3e38]] * 1)


def test_errors_name_the_thing(features: NDArray[np.float32]) -> None:
    with pytest.raises(ConfigError, match=r"normalization_method is 'minmax'.*standard, mad"):
        Normaliser("minmax").fit(features)
    with pytest.raises(ConfigError, match="row sample"):
        Normaliser("mad").fit_statistics(Moments().update(features).finalise())
    holed = features.copy()
    holed[3, 1] = np.nan
    with pytest.raises(DataError, match=r"not finite.*: b \(1\)\. .*cleaner"):
        Normaliser().fit(holed, names=list("abcd"))
    normaliser = Normaliser().fit(features)
    with pytest.raises(DataError, match=r"x1 \(1\)"):
        normaliser.transform(holed)
    with pytest.raises(DataError, match="4 columns, got 3"):
        normaliser.transform(features[:, :3])
