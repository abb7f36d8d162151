"""Matching columns by name: order is put right, everything else is named."""

import numpy as np
import pytest

from spinlock.data.columns import likely_names, match_columns
from spinlock.errors import DataError

NAMES = ["a::x", "a::y", "b::z"]


def refusal(given: list[str], expected: list[str] = NAMES, **options: bool) -> str:
    with pytest.raises(DataError) as caught:
        match_columns(expected, given, "'data.npz'", **options)
    message = str(caught.value)
    assert message.startswith("'data.npz': ")
    assert "\n" not in message
    return message


def test_reordered_columns_are_found() -> None:
    positions = match_columns(NAMES, ["b::z", "a::x", "a::y"], "x")
    assert positions.dtype == np.int64
    assert positions.tolist() == [1, 2, 0]
    assert match_columns([], [], "x").tolist() == []


def test_missing_and_extra_columns_are_named() -> None:
    message = refusal(["a::x", "b::w"])
    assert "2 of 3 expected columns are missing: a::y, b::z" in message
    assert "1 column was not expected: b::w" in message


def test_only_extra_columns() -> None:
    given = [*NAMES, "c::1", "c::2"]
    message = refusal(given)
    assert "2 columns were not expected: c::1, c::2. Drop them" in message
    assert "missing" not in message
    assert match_columns(NAMES, given, "x", allow_extra=True).tolist() == [0, 1, 2]


def test_missing_columns_count_even_where_extra_ones_are_allowed() -> None:
    message = refusal(["a::x", "a::y", "b::zz"], allow_extra=True)
    assert "1 of 3 expected columns is missing: b::z" in message
    assert "not expected" not in message


@pytest.mark.parametrize("near", ["a::Y", "c::y", "a:: y "])
def test_a_near_miss_is_suggested(near: str) -> None:
    assert "meant?" in refusal(["a::x", near, "b::z"])


def test_several_near_misses() -> None:
    message = refusal(["a::X", "a::Y", "b::z"])
    assert "(perhaps a::X for a::x, a::Y for a::y)" in message


def test_repeated_columns_are_named() -> None:
    assert "more than once: a::x" in refusal(["a::x", "a::x", "a::y", "b::z"])


def test_long_lists_and_odd_names_stay_one_printable_line() -> None:
    expected = [f"f::{i}\n" for i in range(5000)]
    message = refusal([f"g::{i}" for i in range(5000)], expected)
    assert message.isprintable()
    assert len(message) < 1500


def test_a_spelling_far_away_is_not_suggested() -> None:
    assert likely_names(["f::temperature"], ["f::humidity"]) == {}
