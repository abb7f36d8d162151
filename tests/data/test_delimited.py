"""CSV and TSV: numbers, missing cells, text that is named, and files that are refused."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinlock.data import FeatureTable, load_table, open_dataset
from spinlock.errors import DataError

pytest.importorskip("pyarrow.csv", reason="pyarrow is not installed")

Read = Callable[..., FeatureTable]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str | bytes, name: str = "t.csv", **options: Any) -> FeatureTable:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_table(path, **options)

    return read


def test_numbers_booleans_and_missing_cells(read: Read) -> None:
    table = read("a::x,y,flag\n1,2,true\n,NaN,false\n3e3,-inf,NA\n")
    assert table.names == ("a::x", "features::y", "features::flag")
    expected = [[1, 2, 1], [np.nan, np.nan, 0], [3000, -np.inf, np.nan]]
    np.testing.assert_array_equal(table.features, np.array(expected, np.float32))


def test_tabs_compression_quotes_and_byte_order_marks(read: Read) -> None:
    for name, text in (
        ("t.tsv", b"a\tb\n1\t2\n"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)),
        ("t.csv", b'"a","b"\n"1","2"\n'),
        ("u.csv", "\ufeffa,b\r\n1,2\r\n".encode()),
    ):
        table = read(text, name)
        assert table.names == ("features::a", "features::b")
        assert table.features.tolist() == [[1.0, 2.0]]


def test_labels_by_name(read: Read) -> None:
    assert read("x,labels\n1,u\n2,v\n").labels.tolist() == ["u", "v"]  # type: ignore[union-attr]
    table = read("x,y\n1,3\n2,4\n", label_column="y")
    assert table.names == ("features::x",)
    assert table.labels is not None
    assert table.labels.tolist() == [3, 4]
    assert table.labels.dtype == np.int64


def test_a_random_table_comes_back_exactly(read: Read) -> None:
    values = np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)
    lines = [",".join(f"a::{i}" for i in range(5))]
    lines += [",".join(repr(float(v)) for v in row) for row in values]
    np.testing.assert_array_equal(read("\n".join(lines)).features, values)


def test_every_pass_gives_the_same_blocks(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i / 2}\n" for i in range(1000)))
    with open_dataset(path) as dataset:
        assert dataset.num_rows == 1000
        first, second = (np.concatenate(list(dataset.blocks(64))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first[:, 1], np.arange(1000) / 2)


def test_text_far_down_a_column_is_named_with_its_line(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spinlock.data.delimited._PARSED", 1 << 10)
    text = "id,a,b\n" + "7,1,2\n" * 2000 + "7,1,zz\n" + "7,1,2\n"
    with pytest.raises(DataError, match=r"column 'b' holds 'zz' in line 2002, where numbers come"):
        read(text)
    with pytest.raises(DataError, match=r"column 'b' holds 'zz' in line 2002"):
        read(text, exclude_columns=["id"])
    assert read(text, exclude_columns=["b"]).num_rows == 2002


def test_text_among_numbers_near_the_beginning_is_named_with_its_line(read: Read) -> None:
    lines = ["a,b,c,d"] + [f"{i},{i}e-3,x,7" for i in range(300)]
    lines[5], lines[99] = "hello,1,x,7", "4,oh no,x,7"
    text = "\n".join(lines)
    found = r"t\.csv: column 'a' holds 'hello' in line 6, column 'b' holds 'oh no' in line 100, am"
    with pytest.raises(DataError, match=found):
        read(text)
    with pytest.raises(DataError, match=r"column 'b' .*: correct the value, leave it empty"):
        read(text, exclude_columns=["a", "c"])
    with pytest.raises(DataError, match=r"no numbers \(text: c\)"):
        read(text, exclude_columns=["a", "b"])
    table = read(text, exclude_columns=["b", "c"], label_column="a")
    assert table.labels is not None
    assert table.labels[4] == "hello"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("::e,b\n1,2\n", r"t\.csv: column '::e' .*misnamed"),
        ("a\x07,b\n1,2\n", r"t\.csv: name 'features::a\\x07' contains control"),
        ("a::,b\n1,2\n", r"t\.csv: column 'a::' .*misnamed"),
        ("a\x1b::x,b\n1,2\n", r"t\.csv: name 'a\\x1b' contains control"),
        ("a,b\n", r"is empty: shape \[0, 2\]; expected at least one row and one column"),
    ],
)
def test_names_and_sizes_that_cannot_be_are_said_with_the_file(
    read: Read, text: str, found: str
) -> None:
    with pytest.raises(DataError, match=found):
        read(text)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("1,2\n3,4\n", "t.csv", "begins with numbers"),
        ("a,b\n", "t.csv", "is empty"),
        ("", "t.csv", "is empty"),
        (" \n\n", "t.csv", "is empty"),
        ("a,b\n1,2\n3\n", "t.csv", "Expected 2 columns, got 1"),
        ("a,a\n1,2\n", "t.csv", "columns of one name: a"),
        (",b\n1,2\n", "t.csv", "column 1 has no name"),
        ("a,b\n1,x\n", "t.csv", "text: b"),
        ("a,when\n1,2020-01-01\n", "t.csv", "text: when"),
        ("a;b\n1;2\n", "t.csv", "separated by commas"),
        ("a,b\n1,2\n".encode("utf-16"), "t.csv", "UTF-16"),
        (b"\x00\x01" * 90, "t.csv", "zero bytes"),
        (b"a,b\xff\n1,2\n", "t.csv", "utf-8"),
        (b"no gzip", "t.csv.gz", "cannot be read"),
        (gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:-20], "t.csv.gz", "cannot be read"),
        ('a,b\n"1,2\n3,4\n', "t.csv", "cannot be read"),
        ("a,b\n1,2\n" + "x" * 9_000_000 + "\n", "t.csv", "cannot be read"),
    ],
)
def test_files_that_are_refused(read: Read, text: str | bytes, name: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read(text, name)
