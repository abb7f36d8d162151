"""Whatever people hold in memory becomes the same matrix; what is no number is named."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from spinlock.data.frames import qualified_names, read_frame, user_name, user_names
from spinlock.data.table import FeatureTable
from spinlock.errors import DataError

NAN = np.nan


def numbers() -> dict[str, list[Any]]:
    return {"a": [1, None, 3], "shape::b": [True, False, None], "c": [0.5, 1e300, None]}


EXPECTED = [[1, 1, 0.5], [NAN, 0, np.inf], [3, NAN, NAN]]


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame(numbers()).astype({"a": "Int64", "shape::b": "boolean", "c": "Float64"}),
        pd.DataFrame(numbers(), dtype=object),
        pd.DataFrame(numbers()).astype({"a": "double[pyarrow]", "shape::b": "bool[pyarrow]"}),
        pl.DataFrame(numbers()),
        pa.table(numbers()),
        pa.RecordBatch.from_pydict(numbers()),
    ],
    ids=["pandas-nullable", "pandas-object", "pandas-arrow", "polars", "arrow", "arrow-batch"],
)
def test_tables_with_missing_values(data: Any) -> None:
    frame = read_frame(data)
    np.testing.assert_array_equal(frame.values, EXPECTED)
    assert frame.values.dtype == np.float32
    assert frame.values.flags.c_contiguous
    assert frame.names == ("a", "shape::b", "c")
    assert frame.table().families == ("features", "shape", "features")


@pytest.mark.parametrize(
    "data",
    [
        [[1, None], [2.5, True]],
        np.array([[1, None], [2.5, True]], dtype=object),
        np.asfortranarray([[1, NAN], [2.5, 1]]),
        np.ma.masked_array([[1.0, 7.0], [2.5, 1.0]], mask=[[0, 1], [0, 0]]),
        pd.DataFrame([[1, NAN], [2.5, 1]]),
    ],
    ids=["lists", "objects", "fortran", "masked", "numbered-pandas"],
)
def test_columns_without_names(data: Any) -> None:
    frame = read_frame(data)
    np.testing.assert_array_equal(frame.values, [[1, NAN], [2.5, 1]])
    assert frame.names is None
    assert frame.column_names == ("features::0", "features::1")


def test_sparse_columns_and_decimals() -> None:
    sparse = pd.DataFrame({"s": pd.arrays.SparseArray([0.0, 0.0, 2.0])})
    np.testing.assert_array_equal(read_frame(sparse).values[:, 0], [0, 0, 2])
    decimals = pl.DataFrame({"d": ["1.25"]}).cast(pl.Decimal(10, 2))
    assert read_frame(decimals).values.tolist() == [[1.25]]
    assert read_frame(decimals.to_arrow()).values.tolist() == [[1.25]]


def test_a_feature_table_stays_what_it_is() -> None:
    table = FeatureTable.from_families({"a": np.ones((2, 2))})
    frame = read_frame(table)
    assert frame.table().names == table.names
    assert np.shares_memory(frame.values, table.features)


def unusable() -> pd.DataFrame:
    day = pd.to_datetime(["2020-01-01"])
    return pd.DataFrame(
        {
            "fine": [1.0],
            "city": ["Oslo"],
            "kind": pd.Categorical(["x"]),
            "day": day,
            "zoned": day.tz_localize("UTC"),
            "span": day - day,
            "thing": pd.Series([{"a": 1}], dtype=object),
        }
    )


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (unusable(), ["'city' (text, such as 'Oslo')", "'kind' (categories", "'day' (dates)",
                      "'zoned' (dates)", "'span' (time spans)", "'thing' (dict:"]),
        (pl.from_pandas(unusable().drop(columns="thing")),
         ["'city' (text", "'kind' (categories", "'day' (dates)", "'span' (time spans)"]),
        (pa.table({"fine": [1], "city": ["Oslo"], "kind": pa.array(["x"]).dictionary_encode()}),
         ["'city' (text, such as 'Oslo')", "'kind' (categories)"]),
        ([[1, "Oslo"], [2, "Rome"]], ["column 1 (text, such as 'Oslo')"]),
        (np.array([["a", "b"]]), ["column 0 (text", "column 1 (text"]),
    ],
    ids=["pandas", "polars", "arrow", "lists", "numpy"],
)  # fmt: skip
def test_columns_that_hold_no_numbers_are_all_named(data: Any, named: list[str]) -> None:
    with pytest.raises(DataError, match="columns that hold no numbers") as caught:
        read_frame(data)
    message = str(caught.value)
    assert all(name in message for name in named), message
    assert "fine" not in message
    assert "get_dummies" in message
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([1.0, 2.0], "Reshape your data"),
        (pd.Series([1.0]), "Reshape your data"),
        (np.zeros((2, 2, 2)), "got 3D array"),
        (np.zeros((3, 0)), "0 feature"),
        (pd.DataFrame(index=[0, 1]), "0 feature"),
        ([[1, 2], [3]], "equal length"),
        (np.array([[1j]]), "Complex data not supported"),
        (pl.LazyFrame({"a": [1]}), "collect"),
        (pd.DataFrame([[1, 2]], columns=["a", 0]), "string names"),
    ],
)
def test_what_is_no_table(data: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_frame(data)


def test_repeated_names() -> None:
    frame = read_frame(pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"]))
    with pytest.raises(DataError, match=r"given more than once: features::a\."):
        frame.table()
    with pytest.raises(DataError, match="more than once"):
        qualified_names(["a", "features::a"], 2)


def test_names_come_back_as_the_user_wrote_them() -> None:
    for name in ("age", "shape::area", "::odd", "odd::", "a::b::c"):
        assert user_name(qualified_names([name], 1)[0]) == name
    assert user_names([("a", 1)]) is None
