"""Categories from names and globs: every column in exactly one, and all that can be wrong named."""

import numpy as np
import pytest

from spinlock.data.categories import discover_categories
from spinlock.data.manual_categories import assigned_columns
from spinlock.errors import ConfigError

NAMES = ("s::width", "c::red", "s::height", "c::green", "t::slope")


def test_names_globs_and_the_rest() -> None:
    mapping = {"rest": ["*"], "size": ["s::width", "s::*"], "colour": ["c::[rg]*"]}
    found = assigned_columns(mapping, NAMES)
    assert found == {"rest": [4], "size": [0, 2], "colour": [1, 3]}
    groups = discover_categories(np.zeros((3, 5)), NAMES, assignment="manual", mapping=mapping)
    assert groups.names == ("size", "colour", "rest")
    assert groups.columns == ((0, 2), (1, 3), (4,))


def test_a_name_with_brackets_is_a_name() -> None:
    assert assigned_columns({"a": ["f::x[0]"]}, ["f::x[0]"]) == {"a": [0]}


def test_dropped_columns_may_be_named() -> None:
    found = assigned_columns({"a": ["s::*", "s::gone"], "b": ["*"]}, NAMES, {"s::gone": "constant"})
    assert found == {"a": [0, 2], "b": [1, 3, 4]}


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"a": ["s::*"]}, r"3 columns are in no category: c::red, c::green, t::slope"),
        ({"a": ["*"], "b": ["*"]}, r"a, b all ask for the rest"),
        ({"a": ["s::*"], "b": ["s::width", "*"]}, r"s::width in a and b"),
        ({"a": ["s::Width", "*"]}, r"not have: s::Width; is s::width meant"),
        ({"a": ["*"], "b": ["z::*"]}, r"not have: z::\*"),
        ({"a": ["*"], "b": ["s::gone"]}, r"left for b\. Cleaning dropped .*s::gone: constant"),
        ({"a": ["*"], "b": ["c::*", "s::*", "t::*"]}, r"no column is left for a\."),
    ],
)
def test_what_is_wrong_is_named(mapping: dict[str, list[str]], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        assigned_columns(mapping, NAMES, {"s::gone": "constant"})


def test_manual_needs_a_mapping() -> None:
    with pytest.raises(ConfigError, match="needs a mapping"):
        discover_categories(np.zeros((3, 5)), NAMES, assignment="manual")
