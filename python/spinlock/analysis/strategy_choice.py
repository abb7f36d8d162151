"""One strategy for everything, one per level or one per family: the forms, and their parser."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spinlock.analysis.allocation_record import RATE_DISTORTION
from spinlock.analysis.profile import CategoryProfile
from spinlock.analysis.strategies import get_strategy
from spinlock.errors import ConfigError

DEFAULT_FAMILY = "default"

_KEY = "auto_compression_strategy"
_LEVEL = re.compile(r"L(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class PerLevelStrategies:
    """Level l of every category has the ratio that strategy l gives to level l.

    >>> str(PerLevelStrategies(("variance", "balanced")))
    'L0: variance, L1: balanced'
    """

    names: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(f"L{level}: {name}" for level, name in enumerate(self.names))


@dataclass(frozen=True)
class PerFamilyStrategies:
    """A category has the strategy of the families that its columns come from, if these agree.

    Attributes:
        families: (family, strategy) in the order given.
        default: for families that are not named, and categories whose families disagree.

    >>> str(PerFamilyStrategies((("temporal", "variance"),), default="balanced"))
    'temporal: variance, default: balanced'
    """

    families: tuple[tuple[str, str], ...]
    default: str

    def __str__(self) -> str:
        pairs = (*self.families, (DEFAULT_FAMILY, self.default))
        return ", ".join(f"{family}: {name}" for family, name in pairs)

    def of(self, families: Sequence[str]) -> str:
        """The strategy of a category with columns of these families.

        >>> chosen = PerFamilyStrategies((("a", "variance"), ("b", "variance")), "balanced")
        >>> chosen.of(["a", "b"]), chosen.of(["a", "c"])
        ('variance', 'balanced')
        """
        named = dict(self.families)
        found = {named.get(family, self.default) for family in families}
        return found.pop() if len(found) == 1 else self.default


StrategyChoice = str | PerLevelStrategies | PerFamilyStrategies


def parse_strategy(value: Any, *, key: str = _KEY) -> StrategyChoice:
    """Read any of the three forms; names are not looked up, see :func:`check_strategy`.

    Args:
        value: a name, ``{L0: name, L1: name, ...}`` or ``{family: name, ..., default: name}``.
        key: what messages call it.

    Raises:
        ConfigError: another form, levels that are missing, levels beside families, no default.

    >>> parse_strategy("balanced"), parse_strategy({"L1": "variance", "L0": "balanced"})
    ('balanced', PerLevelStrategies(names=('balanced', 'variance')))
    >>> parse_strategy({"temporal": "variance", "default": "balanced"}).default
    'balanced'
    """
    if isinstance(value, str) and value:
        return value
    if isinstance(value, PerLevelStrategies | PerFamilyStrategies):
        return value
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(
            f"{key} must be the name of a strategy, {{L0: name, L1: name, ...}} or "
            f"{{family: name, ..., {DEFAULT_FAMILY}: name}}, got {value!r}"
        )
    for name, chosen in value.items():
        if not (isinstance(name, str) and name and isinstance(chosen, str) and chosen):
            raise ConfigError(
                f"{key} must map levels or families to names of strategies, got {name!r}: "
                f"{chosen!r}"
            )
    levels = [name for name in value if _LEVEL.fullmatch(name)]
    if not levels:
        return _per_family(value, key)
    others = [name for name in value if name not in levels]
    if others:
        raise ConfigError(
            f"{key} names levels ({', '.join(levels)}) beside {', '.join(others)}: give one "
            "strategy per level or one per family, not both"
        )
    expected = [f"L{level}" for level in range(len(levels))]
    missing = [level for level in expected if level not in levels]
    if missing:
        raise ConfigError(
            f"{key} names {len(levels)} levels, of which {', '.join(missing)} is missing: give "
            f"{', '.join(expected)}"
        )
    return PerLevelStrategies(tuple(value[level] for level in expected))


def check_strategy(choice: StrategyChoice) -> None:
    """Raise :class:`ConfigError` for unknown names, and for mixtures that make no sense.

    ``rate_distortion`` spends one budget over all levels and categories, so it stands alone; a
    strategy that reads scale-free scores shares a category with no other.

    >>> check_strategy(PerLevelStrategies(("variance", "balanced", "information")))
    >>> check_strategy(PerLevelStrategies(("variance", "rate_distortion")))
    Traceback (most recent call last):
    spinlock.errors.ConfigError: L1: 'rate_distortion' spends one budget over all levels ...
    """
    if choice == RATE_DISTORTION:
        return
    if isinstance(choice, str):
        get_strategy(choice)
        return
    if isinstance(choice, PerLevelStrategies):
        named = [(f"L{level}", name) for level, name in enumerate(choice.names)]
    else:
        named = [*choice.families, (DEFAULT_FAMILY, choice.default)]
    for place, name in named:
        if name == RATE_DISTORTION:
            raise ConfigError(
                f"{place}: {name!r} spends one budget over all levels and categories and cannot be "
                "one of several strategies: name it alone"
            )
        try:
            row = get_strategy(name)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from error
        if row.scale_free and isinstance(choice, PerLevelStrategies) and len(set(choice.names)) > 1:
            raise ConfigError(
                f"{place}: {name!r} reads other scores of a category than the strategies of the "
                "other levels: use it for all levels or for none"
            )


def category_strategy(choice: StrategyChoice, families: Sequence[str]) -> StrategyChoice:
    """What is left of a choice for one category: a name, or one per level."""
    return choice.of(families) if isinstance(choice, PerFamilyStrategies) else choice


def reads_scale_free(choice: StrategyChoice) -> bool:
    """Whether a category's strategy or strategies want a scale-free profile."""
    name = choice.names[0] if isinstance(choice, PerLevelStrategies) else choice
    return isinstance(name, str) and name != RATE_DISTORTION and get_strategy(name).scale_free


def category_ratios(
    choice: StrategyChoice, profile: CategoryProfile, num_levels: int
) -> tuple[float, ...]:
    """The ratios of a category, by a name or one name per level.

    >>> profile = CategoryProfile("texture", 24, 0.5, 0.697, 0.983, 0.793)
    >>> category_ratios(PerLevelStrategies(("information", "variance", "balanced")), profile, 3)
    (0.3, 1.0, 1.79)
    """
    if isinstance(choice, PerLevelStrategies):
        if len(choice.names) != num_levels:
            raise ConfigError(
                f"{_KEY} names {len(choice.names)} levels, but there are {num_levels}: give one "
                "strategy per level"
            )
        lists = [get_strategy(name)(profile, num_levels) for name in choice.names]
        return tuple(ratios[level] for level, ratios in enumerate(lists))
    assert isinstance(choice, str), "families are resolved per category"
    return get_strategy(choice)(profile, num_levels)


def _per_family(value: Mapping[str, str], key: str) -> PerFamilyStrategies:
    families = dict(value)
    default = families.pop(DEFAULT_FAMILY, None)
    if default is None:
        raise ConfigError(
            f"{key} names families ({', '.join(families)}) but no '{DEFAULT_FAMILY}' for all "
            f"others and for categories of several families: add one, such as {DEFAULT_FAMILY}: "
            "balanced"
        )
    return PerFamilyStrategies(tuple(families.items()), default)
