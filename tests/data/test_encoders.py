"""Encoders: [N, D] and [N, T, D] arrays as columns."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from spinlock.data import encoders
from spinlock.data.encoders import (
    SUMMARY_STATISTICS,
    Encoder,
    FloatArray,
    encoder_names,
    find_encoder,
    register_encoder,
    temporal_summary,
)
from spinlock.errors import DataError

float32s = st.floats(width=32)
series = arrays(np.float64, array_shapes(min_dims=3, max_dims=3, max_side=5), elements=float32s)


@pytest.fixture
def own_encoder() -> Iterator[Encoder]:
    yield register_encoder(
        Encoder("row_range", 2, lambda _names, _steps: ["range"], lambda x: np.ptp(x, 1)[:, None])
    )
    del encoders._ENCODERS["row_range"]


def summary_of(*values: float) -> dict[str, float]:
    row = temporal_summary(np.array(values, dtype=np.float64).reshape(1, -1, 1))[0]
    return dict(zip(SUMMARY_STATISTICS, row.tolist(), strict=True))


def test_summary_of_a_line() -> None:
    line = summary_of(1.0, 3.0, 5.0, 7.0)
    assert line == pytest.approx(
        {
            "mean": 4,
            "std": 5**0.5,
            "min": 1,
            "max": 7,
            "slope": 2,
            "change": 6,
            "autocorrelation": (3 * 1 - 1 * 1 + 1 * 3) / 20,
        }
    )


def test_summary_uses_finite_values_at_their_own_times() -> None:
    line = summary_of(np.nan, 2.0, np.inf, 6.0, -np.inf)
    assert line == pytest.approx(
        {"mean": 4, "std": 2, "min": 2, "max": 6, "slope": 2, "change": 4, "autocorrelation": 0}
    )


def test_alternating_series_are_anticorrelated() -> None:
    assert summary_of(*[1.0, -1.0] * 50)["autocorrelation"] == pytest.approx(-0.99)


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("value", [0.0, 0.1, -3e38, 1e-45])
def test_constant_series_are_finite_and_exact(value: float, steps: int) -> None:
    assert summary_of(*[value] * steps) == {
        "mean": value, "std": 0, "min": value, "max": value, "slope": 0, "change": 0,
        "autocorrelation": 0,
    }  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_series_without_finite_values_is_missing(value: float) -> None:
    assert np.isnan(temporal_summary(np.full((2, 3, 1), value))).all()


@given(series)
def test_summary_agrees_with_numpy_series_by_series(values: FloatArray) -> None:
    result = temporal_summary(values).reshape(len(values), values.shape[2], -1)
    for row, column in np.ndindex(len(values), values.shape[2]):
        line = values[row, :, column]
        times, kept = np.flatnonzero(np.isfinite(line)), line[np.isfinite(line)]
        mean, std, least, most, slope, change, autocorrelation = result[row, column]
        if len(kept) == 0:
            assert np.isnan(result[row, column]).all()
            continue
        scale = np.abs(kept).max() * 1e-9
        assert (least, most, change) == (kept.min(), kept.max(), kept[-1] - kept[0])
        assert mean == pytest.approx(kept.mean(), abs=scale)
        assert std == pytest.approx(kept.std(), abs=scale)
        assert -1.0 - 1e-9 <= autocorrelation <= 1.0 + 1e-9
        if len(kept) > 1 and least < most:
            assert slope == pytest.approx(np.polyfit(times, kept, 1)[0], abs=scale)


@given(series, st.data())
def test_encoders_treat_each_row_by_itself(values: FloatArray, data: st.DataObject) -> None:
    """This is what allows data sets to be read block by block."""
    row = data.draw(st.integers(0, len(values) - 1))
    for name in ("flatten", "temporal_summary"):
        encoder = find_encoder(name, 3, "x")
        np.testing.assert_array_equal(
            encoder.encode(values)[row : row + 1], encoder.encode(values[row : row + 1])
        )


def test_flatten_puts_the_steps_one_after_another() -> None:
    encoder = find_encoder("flatten", 3, "x")
    assert list(encoder.column_names(("a", "b"), 2)) == ["a@t0", "b@t0", "a@t1", "b@t1"]
    assert encoder.encode(np.array([[[1.0, 2.0], [3.0, 4.0]]])).tolist() == [[1, 2, 3, 4]]


@given(series)
def test_there_is_one_name_per_column(values: FloatArray) -> None:
    features = tuple(f"f{i}" for i in range(values.shape[2]))
    for name in ("flatten", "temporal_summary"):
        encoder = find_encoder(name, 3, "x")
        names = encoder.column_names(features, values.shape[1])
        assert len(set(names)) == len(names) == encoder.encode(values).shape[1]


def test_the_defaults_depend_on_the_dimensions() -> None:
    assert find_encoder(None, 2, "x").name == "identity"
    assert find_encoder(None, 3, "x").name == "temporal_summary"


def test_an_unknown_encoder_lists_the_known() -> None:
    with pytest.raises(DataError, match=r"'fourrier'.*identity, flatten, temporal_summary"):
        find_encoder("fourrier", 3, "x")


def test_an_encoder_for_other_arrays_says_which_fit() -> None:
    with pytest.raises(DataError, match=r"'x' holds \[N, D\] matrices.*: identity"):
        find_encoder("flatten", 2, "x")
    with pytest.raises(DataError, match="flatten, temporal_summary"):
        find_encoder("identity", 3, "x")


def test_the_registry_is_open(own_encoder: Encoder) -> None:
    assert "row_range" in encoder_names()
    assert find_encoder("row_range", 2, "x") is own_encoder
    with pytest.raises(DataError, match="registered already"):
        register_encoder(own_encoder)
    with pytest.raises(DataError, match="4-D"):
        register_encoder(Encoder("cube", 4, own_encoder.column_names, own_encoder.encode))
