"""The ``feature_registry`` attribute of HDF5 files: JSON or an array, in any of several shapes."""

import json
from typing import Any

import numpy as np

from spinlock.data.sources import damage_as_data_error
from spinlock.errors import DataError

REGISTRY = "feature_registry"


def registered_names(raw: object, family: str, what: str) -> tuple[str, ...] | None:
    """The feature names that a ``feature_registry`` attribute gives to a family.

    The attribute is an array of names, or JSON text: a list of names; a list of objects with
    ``name`` (and ``index``, by which they are then ordered); an object ``{name: index}``; an
    object whose ``features`` is one of these; or ``{family: one of these}``.

    Returns:
        The names; None where the attribute speaks of other families only.

    Raises:
        DataError: anything else; names ``what``.

    >>> registered_names('{"temporal": [{"name": "energy"}, {"name": "drift"}]}', "temporal", "x")
    ('energy', 'drift')
    >>> registered_names('{"width": 1, "area": 0}', "shape", "x")
    ('area', 'width')
    """
    value: Any = raw
    with damage_as_data_error(what, "feature names"):
        if isinstance(raw, np.ndarray):
            value = [_text(entry) for entry in raw.ravel().tolist()]
        elif isinstance(raw, (str, bytes)):
            value = json.loads(_text(raw))
    if isinstance(value, dict) and family in value and not isinstance(value[family], int):
        value = value[family]
    if isinstance(value, dict) and isinstance(value.get("features"), (list, dict)):
        value = value["features"]
    if isinstance(value, dict) and value and all(type(index) is int for index in value.values()):
        return _by_index([(index, name) for name, index in value.items()], what)
    if isinstance(value, dict) and all(isinstance(entry, (list, dict)) for entry in value.values()):
        return None
    if isinstance(value, list) and value and all(isinstance(entry, str) for entry in value):
        return tuple(value)
    if isinstance(value, list) and value and all(_is_named(entry) for entry in value):
        if all(type(entry.get("index")) is int for entry in value):
            return _by_index([(entry["index"], entry["name"]) for entry in value], what)
        return tuple(entry["name"] for entry in value)
    raise DataError(
        f"{what} gives no feature names for family {family!r}; expected JSON text with a list of "
        'names, a list of {"name": ...} objects, {"name": index}, or {"family": one of these}.'
    )


def _by_index(entries: list[tuple[int, str]], what: str) -> tuple[str, ...]:
    if len({index for index, _ in entries}) < len(entries):
        raise DataError(f"{what} gives one index to several features; number each differently.")
    return tuple(name for _, name in sorted(entries))


def _is_named(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def _text(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
