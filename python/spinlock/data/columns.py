"""Putting a data set's columns into the order that a model knows, by name."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spinlock.data.table import SEPARATOR, listed
from spinlock.errors import DataError

# Likeness is looked for among this many names at most: it costs their product.
_COMPARED_MISSING, _COMPARED_EXTRA = 5, 2000
_RENAME = "Rename the columns as in the data that was fitted, or add them"


def match_columns(
    expected: Sequence[str],
    given: Sequence[str],
    what: str,
    *,
    allow_extra: bool = False,
    extra_remedy: str = "Drop them",
) -> NDArray[np.int64]:
    """The position in ``given`` of each expected column name, int64 ``[len(expected)]``.

    Args:
        expected: unique names, in the order that is wanted.
        given: the names that there are, in any order.
        what: the data set, for the message.
        allow_extra: leave columns that were not expected out instead of refusing them.
        extra_remedy: what to do about such columns, for the message.

    Raises:
        DataError: columns are missing, given twice, or there although not expected; all are named,
            with the likeliest spelling of a missing one.

    >>> match_columns(["a::x", "a::y"], ["a::y", "a::x"], "'data.npz'")
    array([1, 0])
    >>> match_columns(["a::x", "a::y"], ["a::x"], "'data.npz'")
    Traceback (most recent call last):
    spinlock.errors.DataError: 'data.npz': 1 of 2 expected columns is missing: a::y. Rename ...
    """
    positions = {name: index for index, name in enumerate(given)}
    missing = [name for name in expected if name not in positions]
    wanted = set(expected)
    extra = [name for name in given if name not in wanted]
    twice = [name for name, count in Counter(given).items() if count > 1 and name in wanted]
    if twice:
        raise DataError(
            f"{what}: column names given more than once: {listed(twice)}. Rename or drop the "
            "repeated columns."
        )
    parts = []
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        parts.append(
            f"{len(missing):,} of {len(expected):,} expected columns {verb} missing: "
            f"{_with_likely(missing, extra)}"
        )
    if extra and not allow_extra:
        noun = "column was" if len(extra) == 1 else "columns were"
        parts.append(f"{len(extra):,} {noun} not expected: {listed(extra)}")
    if parts:
        remedy = _RENAME if missing else extra_remedy
        raise DataError(f"{what}: {' and '.join(parts)}. {remedy}.")
    return np.array([positions[name] for name in expected], dtype=np.int64)


def _with_likely(missing: list[str], extra: list[str]) -> str:
    """The missing names; where one of the extra ones looks alike, that one beside the first few."""
    likely = likely_names(missing[:_COMPARED_MISSING], extra[:_COMPARED_EXTRA])
    shown = listed(missing)
    pairs = [f"{listed([likely[name]])} for {listed([name])}" for name in missing if name in likely]
    if not pairs:
        return shown
    if len(missing) == 1:
        return f"{shown} (is {listed([likely[missing[0]]])} meant?)"
    return f"{shown} (perhaps {', '.join(pairs)})"


def likely_names(wanted: Sequence[str], offered: Sequence[str]) -> Mapping[str, str]:
    """For each wanted name the offered one that looks alike, where there is one.

    Names that differ only in case, surrounding blanks or their family come first.

    >>> likely_names(["a::width", "a::height"], ["b::Width", "a::heigth", "a::z"])
    {'a::width': 'b::Width', 'a::height': 'a::heigth'}
    """
    bare = {_bare(name): name for name in reversed(offered)}
    found = {}
    for name in wanted:
        alike = bare.get(_bare(name))
        if alike is None:
            close = difflib.get_close_matches(name, offered, n=1, cutoff=0.8)
            alike = close[0] if close else None
        if alike is not None:
            found[name] = alike
    return found


def _bare(name: str) -> str:
    return name.rpartition(SEPARATOR)[2].strip().casefold()
