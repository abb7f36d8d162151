"""What a key takes, in words: from the models' types, for messages and for the documentation."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from spinlock.config.base import Expected

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_BOUNDS = {Ge: (">=", "ge"), Gt: (">", "gt"), Le: ("<=", "le"), Lt: ("<", "lt")}


def describe(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """What values of a type, with constraints, look like.

    >>> from pydantic import Field
    >>> describe(Annotated[float, Field(ge=0, lt=1)] | None)
    'a number >= 0 and < 1, or null'
    >>> describe(dict[str, list[int]]), describe(Literal["mean", "sum"])
    ('a mapping, each value a list, each entry a whole number', 'mean or sum')
    """
    annotation, metadata = _unwrap(annotation, metadata)
    stated = [item.text for item in metadata if isinstance(item, Expected)]
    if stated:
        return stated[0]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        parts = [describe(a, metadata) for a in arguments if a is not type(None)]
        return " or ".join(parts) + (", or null" if type(None) in arguments else "")
    if origin is Literal:
        return _either([str(choice) for choice in arguments])
    if origin is list:
        return f"a list, each entry {describe(arguments[0])}"
    if origin is dict:
        return f"a mapping, each value {describe(arguments[1])}"
    if is_model(annotation):
        return f"a mapping of the keys {', '.join(annotation.model_fields)}"
    return _NAMES.get(annotation, str(annotation)) + _range(metadata)


@dataclass(frozen=True)
class Place:
    """Where a location of nested models, mappings and lists leads.

    Attributes:
        model: the innermost model that the way there passes or ends at.
        field: the field that it ends at; None where it ends at an entry or a whole model.
        annotation, metadata: the type there.
    """

    model: type[BaseModel]
    field: FieldInfo | None
    annotation: Any
    metadata: Sequence[Any]

    @property
    def expected(self) -> str:
        """What the place takes, in words."""
        return describe(self.annotation, self.metadata)


def locate(model: type[BaseModel], location: Sequence[str | int]) -> Place:
    """The place of a location.

    >>> from spinlock.config.root import TrainConfig
    >>> place = locate(TrainConfig, ("model", "levels", "shape", 0, "num_tokens"))
    >>> place.model.__name__, place.expected
    ('LevelConfig', 'a whole number >= 2, or null')
    """
    place = Place(model, None, model, ())
    for part in location:
        place = _step(place, part)
    return place


def is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    """The annotation is a model itself."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_mapping(annotation: Any) -> bool:
    """The annotation is a mapping with free names, or that or None."""
    return get_origin(_without_none(annotation)) is dict


def _step(place: Place, part: str | int) -> Place:
    if is_model(place.annotation):
        field: FieldInfo | None = place.annotation.model_fields[str(part)]
        annotation, metadata = _unwrap(place.annotation.model_fields[str(part)])
    else:
        field = None
        # Entries of lists, tuples and mappings: the last argument is their type.
        annotation, metadata = _unwrap(get_args(_without_none(place.annotation))[-1])
    model = annotation if is_model(annotation) else place.model
    return Place(model, field, annotation, metadata)


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        return _unwrap(next(a for a in get_args(annotation) if a is not type(None)))[0]
    return annotation


def _unwrap(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[Any, list[Any]]:
    """The bare type with all its metadata, those inside ``Annotated`` included."""
    found = list(metadata)
    if isinstance(annotation, FieldInfo):
        found += annotation.metadata
        annotation = annotation.annotation
    while get_origin(annotation) is Annotated:
        annotation, *extra = get_args(annotation)
        for item in extra:
            found += item.metadata if isinstance(item, FieldInfo) else [item]
    return annotation, found


def _range(metadata: Sequence[Any]) -> str:
    bounds = []
    for item in metadata:
        sign, attribute = _BOUNDS.get(type(item), ("", ""))
        if sign:
            bounds.append(f"{sign} {getattr(item, attribute):,}".replace(",", ""))
    return f" {' and '.join(bounds)}" if bounds else ""


def _either(choices: list[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"
