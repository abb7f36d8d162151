"""The options of quantizer modules and their checks."""

import math
from numbers import Integral
from typing import Any, Literal, get_args

from spinlock.errors import ConfigError

__all__ = [
    "CodebookInit",
    "Reduction",
    "Similarity",
    "check_choice",
    "check_count",
    "check_decay",
    "check_positive",
    "check_weighting",
]

CodebookInit = Literal["kmeans", "uniform"]
Reduction = Literal["mean", "sum"]
Similarity = Literal["euclidean", "cosine"]


def check_decay(decay: float) -> None:
    """0 <= decay < 1."""
    if not 0 <= decay < 1:
        raise ConfigError(
            f"decay: expected 0 <= decay < 1 (0.95 to 0.999 are usual), got {decay}; "
            "it is the share of the old average that a step keeps"
        )


def check_count(name: str, value: object, usual: str) -> None:
    """A whole number >= 1."""
    if not isinstance(value, Integral) or int(value) < 1:
        raise ConfigError(f"{name}: expected a whole number >= 1, got {value!r}; {usual}")


def check_positive(name: str, value: float, usual: float) -> None:
    """A finite number > 0."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{name}: expected a finite number > 0, got {value}; {usual} is usual")


def check_weighting(name: str, value: float) -> None:
    """A finite number >= 0."""
    if not 0 <= value < math.inf:
        raise ConfigError(
            f"{name}: expected a finite number >= 0, got {value}; 1.0 is usual, 0 leaves it out"
        )


def check_choice(name: str, value: str, choices: Any) -> None:
    """One of the values of a ``Literal`` type."""
    if value not in get_args(choices):
        known = " or ".join(repr(choice) for choice in get_args(choices))
        raise ConfigError(f"{name}: expected {known}, got {value!r}; correct the name")
