"""YAML as configurations may use it, and what they may not do with it."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinlock.config import reading
from spinlock.config.reading import MAX_BYTES, MAX_DEPTH, read_yaml
from spinlock.errors import ConfigError, SpinlockError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-10", 1e-10),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        ("+.5", 0.5),
        ("1.", 1.0),
        ("0.002", 0.002),
        ("1_000", 1000),
        ("-7", -7),
        ("0", 0),
        ("0x1F", 31),
        ("true", True),
        ("Off", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'512'", "512"),
        ("balanced", "balanced"),
        # Surprises of YAML 1.1 that stay text here.
        ("4:2:1", "4:2:1"),
        ("0.5:1.0:1.5", "0.5:1.0:1.5"),
        ("2024-01-01", "2024-01-01"),
        ("010", "010"),
        ("1e", "1e"),
        ("e5", "e5"),
        ("._", "._"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
    ],
)
def test_scalars(text: str, value: object) -> None:
    read = read_yaml(f"a: {text}", "x")["a"]
    assert read == value
    assert type(read) is type(value)


@given(st.floats(allow_nan=False))
def test_every_float_that_python_writes_is_read(value: float) -> None:
    text = repr(value) if math.isfinite(value) else f"{'-' if value < 0 else ''}.inf"
    read = read_yaml(text, "x")
    assert read == value
    assert isinstance(read, float)


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_integer_is_read(value: int) -> None:
    assert read_yaml(str(value), "x") == value


def test_aliases_and_merge_keys_work() -> None:
    text = """
    base: &base {a: 1, b: [2, 3]}
    copy: *base
    nested: {deep: &deep {<<: *base, a: 4}}
    again: {<<: *deep, c: 5}
    """
    read = read_yaml(text, "x")
    assert read["copy"] == {"a": 1, "b": [2, 3]}
    assert read["nested"]["deep"] == {"a": 4, "b": [2, 3]}
    assert read["again"] == {"a": 4, "b": [2, 3], "c": 5}


def test_of_several_merged_mappings_the_first_wins() -> None:
    text = """
    one: &one {first key: 1, second key: 1}
    two: &two {second key: 2, third key: 2}
    both: {third key: 3, <<: [*one, *two]}
    """
    assert read_yaml(text, "x")["both"] == {"first key": 1, "second key": 1, "third key": 3}
    with pytest.raises(ConfigError, match="merging mappings"):
        read_yaml("a: {<<: [1]}", "x")


def bomb(width: int, depth: int, item: str) -> str:
    lines = [f"a0: &a0 {item}"]
    for level in range(1, depth):
        inner = ", ".join([f"*a{level - 1}"] * width)
        body = f"[{inner}]" if item.startswith("[") else f"{{<<: [{inner}], k{level}: 1}}"
        lines.append(f"a{level}: &a{level} {body}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3", 3, "'a' is here twice"),
        ("a: {b: 1, b: 1}", 1, "'b' is here twice"),
        ("- 1\n- !!python/object/apply:os.system [ls]", 2, "tag"),
        ("a: !!python/name:os.system ''", 1, "tag"),
        ("a: !!binary aGk=", 1, "tag"),
        ("!!map {a: 1}", 1, "tag"),
        ("a: !Env HOME", 1, "tag"),
        ("a: ! x", 1, "tag"),
        ("yes: 1", 1, "put it in quotes"),
        ("\n1: 1", 2, "put it in quotes"),
        ("[a]: 1", 1, "keys are text"),
        ("? {a: 1}\n: 2", 1, "keys are text"),
        ("a: *x", 1, "undefined alias"),
        ("a: &x [1, *x]", 1, "alias inside"),
        ("&x {a: *x}", 1, "alias inside"),
        (bomb(10, 12, "[x]"), 6, "values"),
        (bomb(10, 12, "{k: x}"), 6, "values"),
        ("[" * 100_000, 1, "levels deep"),
        ("{a: " * 100_000, 1, "levels deep"),
        ("- " * 100_000, 1, "levels deep"),
        ("a: " + "9" * 50_000, 1, "64 bits"),
        ("a: 0x" + "f" * 50_000, 1, "64 bits"),
        ("a: 1\nb: c: d", 2, "quote text that holds ': '"),
        ("a:\n\tb: 1", 2, "tabs"),
        ("a: [1, 2\n", 1, "close the bracket"),
        ("a: 1\nb: 'x", 2, "close the quotes"),
        ("a:\n  b: 1\n c: 2", 3, "indentation"),
        ("a: 1\n---\nb: 2", 2, "second '---'"),
        ("a: @x", 1, "quote text"),
        ("a: 1\nb: \x00", 2, "U+0000"),
        ("a: \x1b[31m", 1, "U+001B"),
        ("a: <<", 1, "merge"),
        ("<<: 3", 1, "merging"),
        ("%YAML 3.0\n---\na: 1", 1, "YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_yaml(text, "'x.yaml'")
    message = str(error.value)
    assert re.match(rf"'x\.yaml', line {line}: ", message), message
    assert says in message
    assert len(message) < 500
    assert message.isprintable()


def test_other_encodings_are_named_with_their_line() -> None:
    with pytest.raises(ConfigError, match=r"^x, line 2: not UTF-8"):
        read_yaml(b"a: 1\nb: \xff", "x")


def test_a_byte_order_mark_is_no_key() -> None:
    assert read_yaml("a: 1".encode("utf-8-sig"), "x") == {"a": 1}


def test_size_is_limited_before_parsing() -> None:
    with pytest.raises(ConfigError, match=r"over 4 MiB"):
        read_yaml("#" * (MAX_BYTES + 1), "x")


def test_number_of_values_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_VALUES", 100)
    assert len(read_yaml("[" + "1," * 99 + "]", "x")) == 99
    with pytest.raises(ConfigError, match="more than 100 values"):
        read_yaml("[" + "1," * 100 + "]", "x")


def test_depth_up_to_the_limit_is_fine() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert read_yaml(text, "x")
    with pytest.raises(ConfigError, match="deep"):
        read_yaml(f"[{text}]", "x")


@given(st.text(alphabet=st.sampled_from("ab1.:-[]{}&*!|>'\"%@`#,?<= \n\t\\\x00é"), max_size=40))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    message = "x"
    try:
        read_yaml(text, "x")
    except SpinlockError as error:
        message = str(error)
    assert message.startswith("x")
