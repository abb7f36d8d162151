"""The known keys, as dotted paths, and the nearest one to a key that is none of them."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from spinlock.config.describe import is_model
from spinlock.config.root import TrainConfig


def known_keys(model: type[BaseModel] = TrainConfig, prefix: str = "") -> dict[str, FieldInfo]:
    """Every key of every section by its dotted path; entries of mappings as ``families.<name>``.

    >>> [key for key in known_keys() if key.startswith("families")]
    ['families', 'families.<name>.path', 'families.<name>.encoder']
    """
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        if is_model(field.annotation):
            found |= known_keys(field.annotation, f"{path}.")
            continue
        found[path] = field
        for inner, place in _entries(field.annotation, ""):
            found |= known_keys(inner, f"{path}{place}.")
    return found


def sections() -> dict[str, type[BaseModel]]:
    """The sections of the configuration by name.

    >>> list(sections())
    ['model', 'feature_cleaning', 'training', 'logging']
    """
    fields = TrainConfig.model_fields.items()
    return {name: f.annotation for name, f in fields if is_model(f.annotation)}


def nearest(key: str, siblings: list[str], section: str) -> str | None:
    """The dotted path that the unknown ``key`` of ``section`` (empty for the root) may mean.

    Looks for a very similar sibling, then for a key of that name anywhere, then for any similar
    sibling.

    >>> nearest("hierachy", ["hierarchy", "levels"], "model")
    'model.hierarchy'
    >>> nearest("batch_size", ["dataset_path"], ""), nearest("xyzzy", ["dataset_path"], "")
    ('training.batch_size', None)
    """
    written = key.lower().replace("-", "_")
    prefix = f"{section}." if section else ""
    here = {name: f"{prefix}{name}" for name in siblings}
    anywhere = {path.rsplit(".", 1)[-1]: path for path in reversed(known_keys())} | here
    for choices, cutoff in ((here, 0.75), (anywhere, 0.75), (here, 0.6)):
        near = get_close_matches(written, list(choices), n=1, cutoff=cutoff)
        if near:
            return choices[near[0]]
    return None


def unknown_key(key: str, siblings: list[str], section: str) -> str:
    """The message for an unknown ``key`` of ``section``, without the key itself.

    >>> unknown_key("hierachy", ["hierarchy", "levels"], "model")
    'unknown key; did you mean model.hierarchy?'
    >>> unknown_key("xyzzy", ["verbosity", "interval_seconds"], "logging")
    'unknown key; the keys of logging are verbosity, interval_seconds'
    """
    near = nearest(key, siblings, section)
    if near is not None:
        return f"unknown key; did you mean {near}?"
    where = f"the keys of {section}" if section else "the keys"
    return f"unknown key; {where} are {', '.join(siblings)}"


def _entries(annotation: Any, place: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Models inside mappings and lists, with how their place is written."""
    if is_model(annotation):
        yield annotation, place
        return
    arguments = get_args(annotation)
    for argument in arguments:
        step = ".<name>" if len(arguments) == 2 and arguments[0] is str else ""
        yield from _entries(argument, place + step)
