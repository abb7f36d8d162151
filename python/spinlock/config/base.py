"""What all sections of a configuration share: strict fields, and how conflicts are reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A group of keys: no others, no values converted from other types, no NaN, read-only.

    Whole numbers are accepted where a number is expected, nothing else is converted.
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        # Keys start with "model" in the configuration itself.
        protected_namespaces=(),
    )


@dataclass(frozen=True)
class Expected:
    """Field metadata: what the key takes, in words, where its type does not say it."""

    text: str


@dataclass(frozen=True)
class Issue:
    """One problem with one key.

    Attributes:
        path: dotted path of the key, from the section that reports it.
        text: what was expected, what came, what to do.
        keys: the keys of that section whose values make up the problem, ``path`` aside.
    """

    path: str
    text: str
    keys: tuple[str, ...] = ()


class Conflicts(ValueError):
    """Keys of a section that are fine one by one but not together; carries all issues at once."""

    def __init__(self, issues: list[Issue]) -> None:
        super().__init__("; ".join(f"{issue.path}: {issue.text}" for issue in issues))
        self.issues = issues


def raise_conflicts(issues: list[Issue]) -> None:
    """Raises :class:`Conflicts` where there are any."""
    if issues:
        raise Conflicts(issues)


def _none_as_empty(value: Any) -> Any:
    return {} if value is None else value


# A heading with nothing under it, as when every key of a section is commented out.
EmptyIsDefault = BeforeValidator(_none_as_empty)

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
