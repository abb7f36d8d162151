"""The one parser of compression ratios: four forms in, a reason for everything else."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinlock.analysis.ratios import (
    AutoRatios,
    PerCategoryRatios,
    UniformRatios,
    parse_compression_ratios,
)
from spinlock.errors import ConfigError

RATIOS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=6)


def test_the_four_forms() -> None:
    assert parse_compression_ratios("auto") == AutoRatios("balanced")
    assert parse_compression_ratios("auto", "variance") == AutoRatios("variance")
    assert parse_compression_ratios("0.5:1.0:1.5") == UniformRatios((0.5, 1.0, 1.5))
    assert parse_compression_ratios([0.5, 1, 1.5]) == UniformRatios((0.5, 1.0, 1.5))
    assert parse_compression_ratios({"a": [0.3, 0.8], "b": "0.5:1"}) == PerCategoryRatios(
        {"a": (0.3, 0.8), "b": (0.5, 1.0)}
    )


@given(RATIOS)
def test_text_and_list_say_the_same(ratios: list[float]) -> None:
    expected = UniformRatios(tuple(ratios))
    assert parse_compression_ratios(" : ".join(map(repr, ratios))) == expected
    assert parse_compression_ratios(ratios) == expected
    assert parse_compression_ratios(tuple(ratios)) == expected
    assert expected.num_levels == len(ratios)


def test_ratios_become_plain_floats() -> None:
    parsed = UniformRatios((np.float32(0.5), 2, np.float64(1.5)))
    assert parsed.ratios == (0.5, 2.0, 1.5)
    assert {type(ratio) for ratio in parsed.ratios} == {float}


def test_one_level_and_order_of_categories() -> None:
    assert parse_compression_ratios("0.5") == UniformRatios((0.5,))
    parsed = parse_compression_ratios({"z": [1.0], "a": [2.0]})
    assert isinstance(parsed, PerCategoryRatios)
    assert list(parsed.ratios) == ["z", "a"]
    assert parsed.num_levels == 1


BAD: list[tuple[Any, str]] = [
    ("", r"ratios\[0\] is '', not a number"),
    ("atuo", r"'atuo', not a number"),
    ("0.5:x", r"ratios\[1\] is 'x'"),
    ("0.5:-1", r"ratios\[1\] must be finite and > 0"),
    ("0.5:nan", r"ratios\[1\] must be finite"),
    ("0.5::1", r"ratios\[1\] is ''"),
    ([], "empty"),
    ([0.5, 0.0], r"ratios\[1\] must be finite and > 0"),
    ([0.5, float("inf")], r"ratios\[1\] must be finite"),
    ([True, 1.0], r"ratios\[0\] must be a number > 0, got True"),
    (["0.5"], r"ratios\[0\] must be a number > 0, got '0.5'"),
    ([[0.5]], r"ratios\[0\] must be a number"),
    (None, "got None"),
    (14521, "base 60"),
    (True, "got True"),
    ({}, "every category"),
    ({"a": []}, r"ratios\.a is empty"),
    ({"a": [0.5, -1]}, r"ratios\.a\[1\]"),
    ({"a": "auto"}, r"ratios\.a\[0\] is 'auto'"),
    ({1: [0.5]}, "must be text, got 1"),
    ({"a": [0.5, 1.0], "b": [0.5]}, "same number of levels everywhere: a has 2, b has 1"),
]


@pytest.mark.parametrize(("value", "reason"), BAD, ids=[repr(value) for value, _ in BAD])
def test_everything_else_raises_and_names_the_key(value: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_compression_ratios(value)
    with pytest.raises(ConfigError, match=r"^model\.compression_ratios"):
        parse_compression_ratios(value, key="model.compression_ratios")


def test_the_strategy_is_checked_whatever_the_form() -> None:
    for value in ("auto", [0.5], {"a": [0.5]}):
        with pytest.raises(ConfigError, match="did you mean 'variance'"):
            parse_compression_ratios(value, "varience")


def test_the_types_check_themselves() -> None:
    with pytest.raises(ConfigError, match="unknown compression strategy"):
        AutoRatios("fast")
    with pytest.raises(ConfigError, match=r"compression_ratios\[0\]"):
        UniformRatios((-1.0,))
    with pytest.raises(ConfigError, match=r"compression_ratios\.a\[0\]"):
        PerCategoryRatios({"a": (0.0,)})
