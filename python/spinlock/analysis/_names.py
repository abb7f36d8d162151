"""How messages speak of names that were not found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from spinlock.errors import ConfigError


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """The message for a name that is none of ``known``: it lists them, and the nearest.

    >>> unknown("strategy", "balance", ["variance", "balanced"])
    "unknown strategy 'balance'; known: variance, balanced; did you mean 'balanced'?"
    """
    names = list(known)
    near = get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}; known: {', '.join(names)}{hint}"


def check_choice(what: str, value: object, known: Iterable[str]) -> None:
    """Raise :class:`ConfigError` unless ``value`` is one of ``known``."""
    names = list(known)
    if not (isinstance(value, str) and value in names):
        raise ConfigError(unknown(what, value, names))


def check_same_names(what: str, given: Iterable[str], expected: Iterable[str], remedy: str) -> None:
    """Raise :class:`ConfigError` naming all missing and all unknown names at once."""
    got, want = list(given), list(expected)
    missing = [name for name in want if name not in got]
    extra = [name for name in got if name not in want]
    if not (missing or extra):
        return
    parts = []
    if missing:
        parts.append(f"missing for {', '.join(missing)}")
    if extra:
        parts.append(f"given for unknown {', '.join(extra)}")
    raise ConfigError(
        f"{what}: {' and '.join(parts)}; the categories are {', '.join(want)}; {remedy}"
    )


def check_exact_keys(where: str, data: Any, keys: Iterable[str]) -> None:
    """Raise :class:`ConfigError` unless ``data`` is a mapping with just these keys."""
    expected = list(keys)
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where} must map {', '.join(expected)} to values, got {data!r}")
    if set(data) != set(expected):
        raise ConfigError(
            f"{where} must have the keys {', '.join(expected)}; got {', '.join(map(str, data))}"
        )
