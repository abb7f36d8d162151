"""The forms in which compression ratios are written, and the one parser that reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from spinlock.analysis.strategies import DEFAULT_STRATEGY
from spinlock.analysis.strategy_choice import StrategyChoice, check_strategy, parse_strategy
from spinlock.errors import ConfigError

_KEY = "compression_ratios"
_FORMS = '"auto", "0.5:1.0:1.5", [0.5, 1.0, 1.5] or {category: [0.5, 1.0, 1.5]}'


@dataclass(frozen=True)
class AutoRatios:
    """Ratios to be computed from the features of each category by one strategy or several."""

    strategy: StrategyChoice = DEFAULT_STRATEGY

    def __post_init__(self) -> None:
        check_strategy(self.strategy)


@dataclass(frozen=True)
class UniformRatios:
    """The same ratios for every category, coarsest level first."""

    ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratios", _level_ratios(self.ratios, _KEY))

    @property
    def num_levels(self) -> int:
        """Number of levels."""
        return len(self.ratios)


@dataclass(frozen=True)
class PerCategoryRatios:
    """Ratios of their own for each category, all with the same number of levels."""

    ratios: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratios", _category_ratios(self.ratios, _KEY))

    @property
    def num_levels(self) -> int:
        """Number of levels, the same for all categories."""
        return len(next(iter(self.ratios.values())))


CompressionRatios = AutoRatios | UniformRatios | PerCategoryRatios


def parse_compression_ratios(
    value: Any, strategy: Any = DEFAULT_STRATEGY, *, key: str = _KEY
) -> CompressionRatios:
    """Read any of the four forms of ``compression_ratios``.

    Args:
        value: ``"auto"``, ``"0.5:1.0:1.5"``, a list of numbers, or a mapping from category to
            such a list (or colon-separated text).
        strategy: what ``"auto"`` stands for, in any form of
            :func:`~spinlock.analysis.strategy_choice.parse_strategy`; checked in any case.
        key: what messages call the value.

    Raises:
        ConfigError: another form, no levels, ratios that are not finite numbers > 0, different
            numbers of levels, or an unknown strategy; the message names the key.

    >>> parse_compression_ratios("auto")
    AutoRatios(strategy='balanced')
    >>> parse_compression_ratios("0.5:1.0:1.5")
    UniformRatios(ratios=(0.5, 1.0, 1.5))
    >>> parse_compression_ratios({"shape": [0.5, 1], "colour": [0.3, 0.8]})
    PerCategoryRatios(ratios={'shape': (0.5, 1.0), 'colour': (0.3, 0.8)})
    """
    auto = AutoRatios(parse_strategy(strategy))
    if isinstance(value, str) and value.strip() == "auto":
        return auto
    if isinstance(value, Mapping):
        return PerCategoryRatios(_category_ratios(value, key))
    return UniformRatios(_level_ratios(value, key))


def _category_ratios(value: Any, key: str) -> dict[str, tuple[float, ...]]:
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f"{key} must map every category to its ratios, got {value!r}")
    ratios: dict[str, tuple[float, ...]] = {}
    for name, levels in value.items():
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{key}: category names must be text, got {name!r}: quote it")
        ratios[name] = _level_ratios(levels, f"{key}.{name}")
    if len({len(levels) for levels in ratios.values()}) > 1:
        counts = ", ".join(f"{name} has {len(levels)}" for name, levels in ratios.items())
        raise ConfigError(f"{key} must have the same number of levels everywhere: {counts}")
    return ratios


def _level_ratios(value: Any, key: str) -> tuple[float, ...]:
    if isinstance(value, str):
        return tuple(
            _ratio(_number(text, f"{key}[{index}]"), f"{key}[{index}]")
            for index, text in enumerate(value.split(":"))
        )
    if isinstance(value, Real):
        raise ConfigError(
            f"{key} must be {_FORMS}, got {value!r}: put a single level in brackets, and "
            "colons in quotes (YAML reads 4:2:1 as a number to base 60)"
        )
    if not isinstance(value, Sequence):
        raise ConfigError(f"{key} must be {_FORMS}, got {value!r}")
    if not value:
        raise ConfigError(f"{key} is empty: give one ratio per level, at least one")
    return tuple(_ratio(ratio, f"{key}[{index}]") for index, ratio in enumerate(value))


def _number(text: str, key: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{key} is {text!r}, not a number; expected {_FORMS}") from error


def _ratio(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"{key} must be a number > 0, got {value!r}")
    ratio = float(value)
    if not (math.isfinite(ratio) and ratio > 0.0):
        raise ConfigError(
            f"{key} must be finite and > 0 (latent dim / number of features), got {value!r}"
        )
    return ratio
