"""Data sets cut into parts: the cuts, what they read, and that they read it in another process."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import spinlock.data.parts as parts_module
from spinlock.data import open_dataset
from spinlock.data.parts import RowPart, array_parts, parts_of_rows, parts_without
from spinlock.errors import DataError

RNG = np.random.default_rng(3)
VALUES = RNG.normal(size=(103, 4)).astype(np.float32)
NAMES = ["a::x", "a::y", "b::z", "b::w"]


def parquet_file(path: Path, values: np.ndarray, names: list[str], group: int) -> None:
    columns = [pa.array(column) for column in values.T]
    parquet.write_table(pa.Table.from_arrays(columns, names), path, row_group_size=group)


@pytest.fixture(params=["parquet", "hdf5", "npz", "shards"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same rows as one file of each kind, and as small and large files."""
    kind = request.param
    if kind == "parquet":
        parquet_file(tmp_path / "x.parquet", VALUES, NAMES, 10)
        return tmp_path / "x.parquet"
    if kind == "hdf5":
        with h5py.File(tmp_path / "x.h5", "w") as file:
            for family, columns, chunk in (("a", slice(2), 7), ("b", slice(2, 4), 20)):
                file.create_dataset(
                    f"features/{family}/features", data=VALUES[:, columns], chunks=(chunk, 2)
                )
        return tmp_path / "x.h5"
    if kind == "npz":
        np.savez(tmp_path / "x.npz", features=VALUES, feature_names=NAMES)
        return tmp_path / "x.npz"
    for part, (start, stop) in enumerate([(0, 4), (4, 9), (9, 60), (60, 103)]):
        order = [3, 2, 1, 0] if part == 2 else [0, 1, 2, 3]
        names = [NAMES[i] for i in order]
        parquet_file(tmp_path / f"p{part}.parquet", VALUES[start:stop][:, order], names, 10)
    return tmp_path


def rows_of(part: RowPart, rows: int = 6) -> np.ndarray:
    return np.concatenate(list(part.blocks(rows)))


def test_parts_cover_the_rows_in_order_here_and_elsewhere(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "PART_ROWS", 25)
    with open_dataset(path) as dataset:
        parts = dataset.parts()
        assert len(parts) == {".npz": 1, ".parquet": 4}.get(path.suffix, 5)
        here = [rows_of(part) for part in parts]
        firsts = [part.first_row for part in parts]
    elsewhere = [pickle.loads(pickle.dumps(part)) for part in parts]
    for found in (here, [rows_of(part) for part in elsewhere]):
        np.testing.assert_array_equal(np.concatenate(found), VALUES)
    assert firsts == np.cumsum([0, *map(len, here)])[:-1].tolist()
    assert [part.num_rows for part in elsewhere] == [len(rows) for rows in here]


def test_parts_without_and_with_some_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "PART_ROWS", 25)
    numbers = np.sort(RNG.permutation(len(VALUES))[:40])
    with open_dataset(path) as dataset:
        without = parts_without(dataset.parts(), numbers)
        only = parts_of_rows(dataset.parts(), numbers)
        for parts, expected in (
            (without, np.delete(VALUES, numbers, axis=0)),
            (only, VALUES[numbers]),
        ):
            found = [rows_of(part) for part in parts]
            np.testing.assert_array_equal(np.concatenate(found), expected)
            assert [part.num_rows for part in parts] == [len(rows) for rows in found]
            assert [p.first_row for p in parts] == np.cumsum([0, *map(len, found)])[:-1].tolist()


def test_a_file_that_changed_is_not_read_in_part(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    parquet_file(path, VALUES, NAMES, 10)
    with open_dataset(path) as dataset:
        part = pickle.loads(pickle.dumps(dataset.parts(25)[1]))
    parquet_file(path, VALUES[:60], NAMES, 10)
    with pytest.raises(DataError, match="changed while it was read"):
        rows_of(part)


def test_parts_of_a_matrix_and_of_a_built_in_set() -> None:
    assert [part.num_rows for part in array_parts(VALUES, 50)] == [50, 50, 3]
    with open_dataset("builtin:digits") as dataset:
        (part,) = dataset.parts()
        again = pickle.loads(pickle.dumps(part))
        np.testing.assert_array_equal(rows_of(again, 4096), rows_of(part, 4096))
