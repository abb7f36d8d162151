"""Validation of a whole configuration: every problem at once, one readable line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from spinlock.config.base import Conflicts, Issue
from spinlock.config.describe import Place, is_model, locate
from spinlock.config.keys import nearest, sections, unknown_key
from spinlock.config.plain import plain
from spinlock.config.root import TrainConfig
from spinlock.config.wording import dotted, report, shown
from spinlock.errors import ConfigError

Location = tuple[str | int, ...]
_NO_DATASET = (
    "missing; expected a data set: a .npz, .npy, .h5 or .hdf5 file, or builtin:digits (on the "
    "command line: --input)"
)


def validate(tree: Mapping[str, Any], source: str, problems: Sequence[str] = ()) -> TrainConfig:
    """The configuration in a tree of plain values.

    Args:
        tree: what YAML reads.
        source: how messages call where it comes from.
        problems: what is known to be wrong already, one line each.

    Raises:
        ConfigError: everything that is wrong, one line per problem.

    >>> validate({"dataset_path": "x.npz", "model": {"decay": 1.0}}, "'x.yaml'")
    Traceback (most recent call last):
    spinlock.errors.ConfigError: 'x.yaml': model.decay: expected a number >= 0 and < 1, got 1.0; \
leave it out for the default, 0.95
    """
    try:
        config = TrainConfig.model_validate(dict(tree))
    except ValidationError as error:
        issues = [*_issues(error), *_remaining_conflicts(tree, error)]
        lines = [*problems, *(_line(issue) for issue in issues)]
        raise ConfigError(report(source, lines)) from error
    if problems:
        raise ConfigError(report(source, problems))
    return config


def _issues(error: ValidationError) -> Iterator[Issue]:
    for detail in error.errors(include_url=False):
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Conflicts):
            section = dotted(detail["loc"])
            for issue in cause.issues:
                keys = tuple(f"{section}.{key}" for key in issue.keys)
                yield Issue(f"{section}.{issue.path}", issue.text, keys)
        elif isinstance(cause, ConfigError):
            # The parsers of analysis/ name the key themselves.
            yield Issue("", str(cause))
        else:
            yield _field_issue(detail["type"], detail["loc"], detail["input"])


def _line(issue: Issue) -> str:
    return f"{issue.path}: {issue.text}" if issue.path else issue.text


def _field_issue(kind: str, location: Location, value: Any) -> Issue:
    if kind == "extra_forbidden":
        return _unknown_key(location)
    if kind == "missing" and location == ("dataset_path",):
        return Issue("dataset_path", _NO_DATASET)
    if location and location[-1] == "[key]":
        text = f"expected names that are text, got {shown(value)}; put it in quotes"
        return Issue(dotted(location[:-2]), text)
    # A tuple that is too short is reported at the entry that is missing.
    if kind == "missing" and isinstance(location[-1], int):
        location = location[:-1]
    place = locate(TrainConfig, location)
    remedy = _remedy(place, value)
    came = "text without a character" if value == "" else shown(value)
    text = f"expected {place.expected}, got {came}"
    return Issue(dotted(location), f"{text}; {remedy}" if remedy else text)


def _unknown_key(location: Location) -> Issue:
    return Issue(dotted(location), unknown_key(*_among(location)))


def _among(location: Location) -> tuple[str, list[str], str]:
    """The last key of a location, its known siblings, and the dotted path above it."""
    *way, key = location
    return str(key), list(locate(TrainConfig, way).model.model_fields), dotted(way)


def _remedy(place: Place, value: Any) -> str:
    numeric = "number" in place.expected
    if isinstance(value, str) and get_origin(place.annotation) is Literal:
        near = get_close_matches(value.lower(), get_args(place.annotation), n=1)
        if near:
            return f"did you mean {near[0]}?"
    if isinstance(value, str) and numeric and _reads_as_number(value):
        return "remove the quotes"
    if isinstance(value, float) and "whole number" in place.expected and value.is_integer():
        return f"write {int(value)}"
    if place.field is None or place.field.is_required():
        return ""
    if place.field.default is None:
        return "or leave it out"
    if is_model(place.annotation):
        return "leave it out for the defaults"
    default = shown(plain(place.field.default), with_kind=False)
    return f"leave it out for the default, {default}"


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _remaining_conflicts(tree: Mapping[str, Any], error: ValidationError) -> Iterator[Issue]:
    """Conflicts between the keys that are fine by themselves.

    pydantic looks at keys together only once each of them is fine, so they are looked at again
    without the others; what the others take part in, misspelt keys included, cannot be judged.
    """
    bad: set[str | None] = set()
    for detail in error.errors(include_url=False):
        location = detail["loc"]
        bad.add(dotted(location[: 2 if location[0] in sections() else 1]))
        if detail["type"] == "extra_forbidden":
            bad.add(nearest(*_among(location)))
    rest: dict[str, Any] = {}
    for name, value in tree.items():
        if name in sections() and isinstance(value, Mapping):
            rest[name] = {key: v for key, v in value.items() if f"{name}.{key}" not in bad}
        elif name not in bad:
            rest[name] = value
    try:
        TrainConfig.model_validate(rest)
    except ValidationError as remaining:
        for issue in _issues(remaining):
            if issue.keys and bad.isdisjoint({issue.path, *issue.keys}):
                yield issue
