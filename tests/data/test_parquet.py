"""Parquet: families from column names and lists, projection, blocks, and files that are refused."""

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinlock.data import FamilySpec, load_table, open_dataset
from spinlock.data.encoders import temporal_summary
from spinlock.errors import DataError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

RNG = np.random.default_rng(5)
N = 101
WriteParquet = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteParquet:
    def write(columns: dict[str, Any], row_group: int = 17, **options: Any) -> Path:
        path = tmp_path / "t.parquet"
        parquet.write_table(pa.table(columns), path, row_group_size=row_group, **options)
        return path

    return write


def test_numbers_of_every_type_become_float32(write: WriteParquet) -> None:
    whole = RNG.integers(0, 100, N)
    columns = {
        "a::double": RNG.normal(size=N),
        "a::single": RNG.normal(size=N).astype("f4"),
        "a::half": pa.array(RNG.normal(size=N).astype("f2")),
        "b::int8": whole.astype("i1"),
        "b::uint64": whole.astype("u8"),
        "b::flag": whole > 50,
        "plain": pa.array([Decimal(int(v)) / 4 for v in whole]),
    }
    table = load_table(write(columns))
    assert table.names == (*list(columns)[:-1], "features::plain")
    for index, column in enumerate(columns.values()):
        given = np.asarray([float(v) for v in np.asarray(column)]).astype(np.float32)
        np.testing.assert_array_equal(table.features[:, index], given)


def test_nulls_are_nan_in_every_type(write: WriteParquet) -> None:
    table = load_table(
        write({"x": [1.5, None], "i": [None, 7], "flag": [True, None], "void": [None, None]})
    )
    expected = np.array([[1.5, np.nan, 1, np.nan], [np.nan, 7, np.nan, np.nan]], np.float32)
    np.testing.assert_array_equal(table.features, expected)


def test_lists_are_families_with_their_encoders(write: WriteParquet) -> None:
    vectors, series = RNG.normal(size=(N, 3)), RNG.normal(size=(N, 5, 2))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 3)
    path = write(
        {"x": np.arange(N), "fixed": fixed, "free": vectors.tolist(), "s": series.tolist()}
    )
    table = load_table(path)
    assert table.family_names == ("features", "fixed", "free", "s")
    np.testing.assert_array_equal(table.features[:, 1:4], vectors.astype(np.float32))
    np.testing.assert_array_equal(table.features[:, 4:7], vectors.astype(np.float32))
    summary = temporal_summary(series).astype(np.float32)
    np.testing.assert_array_equal(table.features[:, 7:], summary)
    flat = load_table(path, {"s": FamilySpec(encoder="flatten"), "y": FamilySpec(path="x")})
    assert flat.names[:2] == ("s::0@t0", "s::1@t0")
    assert flat.names[-1] == "y::x"
    np.testing.assert_array_equal(flat.features[:, :-1], series.reshape(N, -1).astype(np.float32))


def test_uneven_and_missing_lists_are_refused(write: WriteParquet) -> None:
    with pytest.raises(DataError, match=r"column 'v' of .* lists of different lengths"):
        load_table(write({"v": [[1.0, 2.0], [3.0]]}))
    with pytest.raises(DataError, match="different lengths"):
        load_table(write({"v": [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]]}))
    with pytest.raises(DataError, match="rows without a list"):
        load_table(write({"v": [[1.0, 2.0], None]}))
    with pytest.raises(DataError, match=r"empty lists: v|varying length: v"):
        load_table(write({"v": [[], []]}))


def test_every_column_without_numbers_is_named(write: WriteParquet) -> None:
    columns = {
        "x": [1.0, 2.0],
        "id": ["p", "q"],
        "kind": pa.array(["u", "v"]).dictionary_encode(),
        "born": [date(2020, 1, 1)] * 2,
        "deep": [[[[1.0]]]] * 2,
        "raw": [b"1", b"2"],
        "record": [{"a": 1}] * 2,
    }
    path = write(columns)
    with pytest.raises(DataError) as caught:
        load_table(path)
    message = str(caught.value)
    for part in ("text: id", "categories: kind", "dates or times: born", "bytes: raw", "records"):
        assert part in message
    assert "exclude_columns" in message
    table = load_table(
        path, exclude_columns=["id", "born", "de*", "raw", "record"], label_column="kind"
    )
    assert table.names == ("features::x",)
    assert table.labels is not None
    assert table.labels.tolist() == ["u", "v"]


def test_excluded_names_must_be_there(write: WriteParquet) -> None:
    path = write({"shape::area": [1.0, 2.0], "width": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"exclude_columns names shape::aera.*Perhaps shape::area"):
        load_table(path, exclude_columns=["shape::aera"])
    with pytest.raises(DataError, match="leave no column"):
        load_table(path, exclude_columns=["*"])
    with pytest.raises(DataError, match="expected a list"):
        load_table(path, exclude_columns="width")
    with pytest.raises(DataError, match=r"label_column is 'y'.*it has: shape::area, width"):
        load_table(path, label_column="y")
    assert load_table(path, exclude_columns=["shape::*"]).names == ("features::width",)


@pytest.mark.parametrize("rows", [1, 7, 17, 40, 1000])
def test_blocks_and_row_groups_do_not_matter(write: WriteParquet, rows: int) -> None:
    values = RNG.normal(size=(N, 4)).astype(np.float32)
    columns: dict[str, Any] = {f"a::{i}": values[:, i] for i in range(3)}
    columns["list"] = values[:, :2].tolist()
    with open_dataset(write(columns)) as dataset:
        assert dataset.num_rows == N
        for _ in range(2):  # every pass starts anew
            blocks = list(dataset.blocks(rows))
            assert max(map(len, blocks)) <= rows
            assert all(block.flags.c_contiguous for block in blocks)
            expected = np.hstack([values[:, :3], values[:, :2]])
            np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_only_wanted_columns_are_read(write: WriteParquet, monkeypatch: pytest.MonkeyPatch) -> None:
    from spinlock.data.parquet import _ParquetReader

    asked: list[tuple[str, ...]] = []
    scan = _ParquetReader.scan
    monkeypatch.setattr(
        _ParquetReader,
        "scan",
        lambda s, names, *rest: (asked.append(tuple(names)), scan(s, names, *rest))[1],
    )
    path = write({"a::x": np.arange(N), "b::y": np.arange(N), "b::z": np.arange(N)})
    load_table(path, {"b": None}, exclude_columns=["y"])
    assert asked == [("b::z",)]


def test_damaged_and_foreign_files(write: WriteParquet, tmp_path: Path) -> None:
    whole = write({"x": RNG.normal(size=N)}).read_bytes()
    path = tmp_path / "bad.parquet"
    for data in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-1], b"x" * 500, whole[::-1]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"bad\.parquet cannot be read as a Parquet file"):
            load_table(path)
    for _ in range(60):
        flipped = bytearray(whole)
        flipped[int(RNG.integers(len(whole)))] ^= 1 << int(RNG.integers(8))
        path.write_bytes(flipped)
        # Values are not checksummed: some damage cannot be seen, the rest must be a DataError.
        with suppress(DataError):
            load_table(path)


def test_no_rows(write: WriteParquet) -> None:
    with pytest.raises(DataError, match="is empty"):
        load_table(write({"x": pa.array([], pa.float32())}))
