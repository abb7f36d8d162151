"""FeatureTable: what it accepts, what it refuses, and that selections keep columns together."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinlock.data import FeatureTable, schema_fingerprint
from spinlock.data.table import as_float32
from spinlock.errors import DataError


def small_table(**changes: Any) -> FeatureTable:
    given_: dict[str, Any] = {
        "features": np.arange(12, dtype=np.float32).reshape(4, 3),
        "names": ("a::x", "a::y", "b::x"),
        "families": ("a", "a", "b"),
        "labels": np.array([3, 2, 1, 0]),
    }
    return FeatureTable(**(given_ | changes))


def test_a_table_is_frozen_and_leaves_the_callers_array_alone() -> None:
    values = np.zeros((2, 3), dtype=np.float32)
    table = small_table(features=values, labels=None)
    values[0, 0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.names = ()  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        table.features[0, 0] = 1.0


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint64", "float16", "float32", "float64", ">f4", "longdouble"]
)
def test_numbers_become_contiguous_float32(dtype: str) -> None:
    values = np.asfortranarray(np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype))
    table = small_table(features=values, labels=None)
    assert table.features.dtype == np.float32
    assert table.features.flags.c_contiguous
    np.testing.assert_array_equal(table.features, values.astype(np.float32))


def test_numbers_beyond_float32_become_infinite() -> None:
    np.testing.assert_array_equal(
        as_float32([[1e39, -1e39, np.nan]], "x"), [[np.inf, -np.inf, np.nan]]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.zeros(3)}, r"shape \[3\]"),
        ({"features": np.zeros((2, 3, 4))}, "encoder"),
        ({"features": np.zeros((4, 0)), "names": (), "families": ()}, "at least one column"),
        ({"features": np.array([["a", "b", "c"]])}, "holds text"),
        ({"features": np.array([[None, 1, 2]])}, "Python objects"),
        ({"features": np.zeros((4, 3), complex)}, "complex"),
        ({"features": np.zeros((4, 3), "M8[s]")}, "dates"),
        ({"names": ("a::x", "a::y")}, "2 names"),
        ({"families": ("a", "a")}, "2 families"),
        ({"names": ("a::x", "a::x", "b::x")}, "unique.*a::x"),
        ({"names": ("x", "a::y", "b::x")}, "column 'x'.*'family::name'"),
        ({"names": ("a::", "a::y", "b::x")}, "misnamed"),
        ({"names": ("::x", "a::y", "b::x"), "families": ("", "a", "b")}, "misnamed"),
        ({"names": ("a::\x1b[31m", "a::y", "b::x")}, r"control characters"),
        ({"names": ("a::\ud800", "a::y", "b::x")}, "broken Unicode"),
        ({"labels": np.zeros(3)}, r"\[3\]"),
        ({"labels": np.zeros((4, 1))}, "one per row"),
        ({"labels": np.array([1, "a", None, 2], dtype=object)}, "dtype object"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        small_table(**changes)
    str(caught.value).encode("utf-8")


def test_names_may_be_any_printable_text() -> None:
    names = ("a::<b>größe & 1::2</b>", "a::空", "b:: ")
    assert small_table(names=names).names == names


def test_take_rows_keeps_labels_aligned() -> None:
    table = small_table()
    taken = table.take_rows([2, 0, 2])
    np.testing.assert_array_equal(taken.features, table.features[[2, 0, 2]])
    assert taken.labels is not None
    np.testing.assert_array_equal(taken.labels, [1, 3, 1])
    np.testing.assert_array_equal(
        table.take_rows(np.array([False, True, False, True])).features, table.features[[1, 3]]
    )
    assert table.take_rows([]).features.shape == (0, 3)


def test_take_columns_keeps_names_and_families_aligned() -> None:
    taken = small_table().take_columns([2, 0])
    assert (taken.names, taken.families) == (("b::x", "a::x"), ("b", "a"))
    np.testing.assert_array_equal(taken.features[:, 1], [0, 3, 6, 9])
    assert taken.features.flags.c_contiguous


@pytest.mark.parametrize(
    "rows", [[4], [-1], [0.5], [[0]], [True, False], ["a"], np.array([], dtype=str).reshape(0, 1)]
)
def test_bad_row_indices_are_refused(rows: Any) -> None:
    with pytest.raises(DataError, match="row"):
        small_table().take_rows(rows)


@given(rows=st.integers(0, 40), block=st.integers(1, 50))
def test_blocks_cover_the_rows_in_order_without_copying(rows: int, block: int) -> None:
    table = FeatureTable.from_families({"a": np.arange(rows * 2).reshape(rows, 2)})
    blocks = list(table.blocks(block))
    assert all(1 <= len(part) <= block and part.base is not None for part in blocks)
    np.testing.assert_array_equal(np.concatenate([np.empty((0, 2)), *blocks]), table.features)


def test_blocks_of_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="rows=0"):
        next(small_table().blocks(0))


def test_from_families_needs_matrices_of_one_height() -> None:
    for arrays in ({}, {"a": np.zeros(3)}, {"a": np.zeros((2, 1)), "b": np.zeros((3, 1))}):
        with pytest.raises(DataError, match="common row count"):
            FeatureTable.from_families(arrays)
    with pytest.raises(DataError, match="family 'a' holds text"):
        FeatureTable.from_families({"a": np.array([["x"]])})


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6), st.randoms())
def test_the_fingerprint_depends_on_every_name_and_on_their_order(
    names: list[str], random: Any
) -> None:
    shuffled = random.sample(names, len(names))
    assert (schema_fingerprint(names) == schema_fingerprint(shuffled)) == (names == shuffled)
    assert schema_fingerprint(names) != schema_fingerprint(names, "float64")
    assert schema_fingerprint([*names, "x"]) != schema_fingerprint([*names[:-1], names[-1] + "x"])


def test_the_fingerprint_never_changes() -> None:
    """Checkpoints and token files carry it."""
    table = small_table()
    assert table.fingerprint == schema_fingerprint(table.names)
    assert table.fingerprint == ("cabd0d39e75974d0cc911ef339c074345945b78621c376687ed56277408877d3")
