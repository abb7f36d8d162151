"""Row samples and order statistics."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.analysis.statistics import (
    Moments,
    RowReservoir,
    RowSample,
    accumulate,
    column_distinct,
    column_mads,
    column_medians,
    column_quantiles,
    row_blocks,
)
from spinlock.analysis.statistics.reservoir import row_keys
from spinlock.errors import DataError


def same(a: RowSample, b: RowSample) -> bool:
    return (
        a.num_rows == b.num_rows
        and np.array_equal(a.row_numbers, b.row_numbers)
        and np.array_equal(a.rows, b.rows)
    )


@settings(max_examples=80, deadline=None)
@given(st.data(), st.integers(1, 60), st.integers(1, 70), st.integers(0, 2**64 - 1))
def test_sample_is_the_same_for_any_blocks_order_and_merge_tree(
    data: st.DataObject, num_rows: int, capacity: int, seed: int
) -> None:
    rows = np.arange(2.0 * num_rows).reshape(num_rows, 2)
    cuts = data.draw(st.lists(st.integers(0, num_rows), max_size=6).map(sorted))
    spans = list(zip([0, *cuts], [*cuts, num_rows], strict=True))
    parts = [RowReservoir(capacity, seed) for _ in range(data.draw(st.integers(1, 3)))]
    for start, stop in data.draw(st.permutations(spans)):
        parts[data.draw(st.integers(0, len(parts) - 1))].update(rows[start:stop], start)
    while len(parts) > 1:
        other = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts[0].merge(other)

    sample = parts[0].finalise()
    assert same(sample, RowReservoir(capacity, seed).update(rows, 0).finalise())
    keys = row_keys(np.arange(num_rows), seed)
    assert sample.row_numbers.tolist() == sorted(np.argsort(keys)[:capacity].tolist())
    assert np.array_equal(sample.rows, rows[sample.row_numbers])
    assert sample.exact == (num_rows <= capacity)


def test_keys_are_frozen() -> None:
    """The first three outputs of splitmix64 with state 0, as published, and another seed's."""
    assert row_keys(np.arange(3), 0).tolist() == [
        16294208416658607535,
        7960286522194355700,
        487617019471545679,
    ]
    assert row_keys(np.arange(2), 7).tolist() == [9672475392221035855, 5573481420429128725]
    assert len(np.unique(row_keys(np.arange(100_000), 7))) == 100_000


def test_a_large_sample_is_uniform() -> None:
    sample = RowReservoir(2_000, seed=3)
    numbers = np.arange(40_000.0)[:, None]
    for start in range(0, 40_000, 4_096):
        sample.update(numbers[start : start + 4_096], start)
    result = sample.finalise()
    assert len(result.rows) == 2_000
    assert not result.exact
    # Each decile holds 200 of 2,000 up to five standard deviations.
    counts = np.histogram(result.row_numbers, bins=10, range=(0, 40_000))[0]
    assert np.abs(counts - 200).max() < 5 * np.sqrt(200)
    levels = np.linspace(0.01, 0.99, 50)
    ranks = column_quantiles(result.rows, levels.tolist())[:, 0] / 40_000
    assert np.abs(ranks - levels).max() < result.rank_error() == pytest.approx(0.0602, abs=1e-4)


def test_memory_stays_within_the_capacity() -> None:
    sample = RowReservoir(100)
    for start in range(0, 10_000, 1_000):
        sample.update(np.zeros((1_000, 3), dtype=np.float32), start)
    assert len(sample._rows) == len(sample._keys) == len(sample._numbers) == 100
    assert sample._rows.dtype == np.float32


def test_dtypes_widen_and_never_narrow() -> None:
    sample = RowReservoir(10).update(np.zeros((2, 1), dtype=np.float32), 0)
    assert sample.finalise().rows.dtype == np.float32
    value = 1.0 + 2.0**-40
    sample.update(np.full((1, 1), value), 2)
    assert sample.finalise().rows.ravel().tolist() == [0.0, 0.0, value]


def test_rows_given_twice_are_refused() -> None:
    sample = RowReservoir(10).update(np.zeros((5, 1)), 0)
    with pytest.raises(DataError, match="row 4 was offered twice"):
        sample.update(np.zeros((5, 1)), 4)
    with pytest.raises(DataError, match="row 0 was offered twice"):
        sample.merge(RowReservoir(10).update(np.zeros((1, 1)), 0))


def test_samples_of_other_seeds_and_widths_do_not_merge() -> None:
    sample = RowReservoir(10, seed=1).update(np.zeros((5, 1)), 0)
    with pytest.raises(DataError, match=r"seed 1 .*seed 2"):
        sample.merge(RowReservoir(10, seed=2))
    with pytest.raises(DataError, match="1 and of 2 columns"):
        sample.merge(RowReservoir(10, seed=1).update(np.zeros((5, 2)), 9))
    with pytest.raises(DataError, match="at least 1 row"):
        RowReservoir(0)
    with pytest.raises(DataError, match="numbered from 0"):
        sample.update(np.zeros((5, 1)), -1)
    with pytest.raises(DataError, match="0 rows"):
        RowReservoir(3).finalise()


def test_statistics_travel_between_processes() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3))
    sample = pickle.loads(pickle.dumps(RowReservoir(20).update(rows[:30], 0)))
    moments = pickle.loads(pickle.dumps(Moments().update(rows[:30])))
    assert same(
        sample.update(rows[30:], 30).finalise(), RowReservoir(20).update(rows, 0).finalise()
    )
    assert moments.update(rows[30:]).finalise().num_rows == 50


def test_accumulate_numbers_the_rows() -> None:
    rows = np.arange(23.0)[:, None]
    sample = accumulate(RowReservoir(100), row_blocks(rows, 5)).finalise()
    assert sample.rows.ravel().tolist() == rows.ravel().tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0]),
        min_size=1,
        max_size=40,
    ),
    st.floats(0.0, 1.0),
)
def test_order_statistics_match_numpy(values: list[float], level: float) -> None:
    column = np.array(values, dtype=np.float32)[:, None]
    finite = column[np.isfinite(column)].astype(np.float64)
    quantile = column_quantiles(column, [level])[0, 0]
    median = column_medians(column)
    assert column_distinct(column)[0] == len(np.unique(finite))
    if len(finite) == 0:
        assert np.isnan([quantile, median[0], column_mads(column, median)[0]]).all()
        return
    scale = np.abs(finite).max()
    assert quantile == pytest.approx(np.quantile(finite, level), rel=1e-12, abs=1e-12 * scale)
    assert median[0] == pytest.approx(np.median(finite), rel=1e-12, abs=1e-12 * scale)
    distances = np.abs(finite - median[0])
    assert column_mads(column, median)[0] == pytest.approx(np.median(distances), abs=1e-12 * scale)
    off = distances[distances > 0]
    spread = column_mads(column, median, off_median_only=True)[0]
    assert np.isnan(spread) if len(off) == 0 else spread == pytest.approx(np.median(off))


def test_wide_samples_are_done_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(31, 17))
    rows[rows > 1.5] = np.nan
    expected = column_quantiles(rows, [0.1, 0.5])
    distinct, mads = column_distinct(rows), column_mads(rows, expected[1])
    monkeypatch.setattr("spinlock.analysis.statistics.order_statistics._CHUNK_BYTES", 31 * 8 * 3)
    assert np.array_equal(column_quantiles(rows, [0.1, 0.5]), expected)
    assert np.array_equal(column_distinct(rows), distinct)
    assert np.array_equal(column_mads(rows, expected[1]), mads)


def test_levels_outside_the_unit_interval_are_refused() -> None:
    with pytest.raises(DataError, match="within"):
        column_quantiles(np.zeros((2, 1)), [1.5])
