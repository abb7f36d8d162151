"""From a profile to compression ratios: one pure function and one registry row per strategy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spinlock.analysis._names import unknown
from spinlock.analysis.allocation_record import RATE_DISTORTION
from spinlock.analysis.dims import level_positions
from spinlock.analysis.profile import CategoryProfile
from spinlock.errors import ConfigError

DEFAULT_STRATEGY = "balanced"
PUBLISHED_LEVELS = 3

Triple = tuple[float, float, float]
RatioRule = Callable[[CategoryProfile, int], tuple[float, ...]]


@dataclass(frozen=True)
class Strategy:
    """A registry row; calling it gives one category's ratios, coarsest level first.

    Attributes:
        name: what ``auto_compression_strategy`` calls it.
        summary: one line for lists and help texts.
        rule: pure function (profile, num_levels) -> ratios (latent dim / feature count), > 0.
        scale_free: the rule reads a scale-free profile.
    """

    name: str
    summary: str
    rule: RatioRule
    scale_free: bool = False

    def __call__(
        self, profile: CategoryProfile, num_levels: int = PUBLISHED_LEVELS
    ) -> tuple[float, ...]:
        """The ratios of ``profile``, one per level."""
        return self.rule(profile, num_levels)


def variance_ratios(
    profile: CategoryProfile, num_levels: int = PUBLISHED_LEVELS
) -> tuple[float, ...]:
    """The more the features vary, the more the fine levels expand.

    >>> profile = CategoryProfile("texture", 24, 0.5, 0.697, 0.983, 0.793)
    >>> variance_ratios(profile)
    (0.4, 1.0, 1.8)
    """
    return spread_over_levels(_by_variance(profile), num_levels)


def dimensionality_ratios(
    profile: CategoryProfile, num_levels: int = PUBLISHED_LEVELS
) -> tuple[float, ...]:
    """The more features, the tighter the bottleneck.

    >>> profile = CategoryProfile("texture", 24, 0.5, 0.697, 0.983, 0.793)
    >>> dimensionality_ratios(profile)
    (0.4, 1.0, 1.8)
    """
    return spread_over_levels(_by_dimensionality(profile), num_levels)


def information_ratios(
    profile: CategoryProfile, num_levels: int = PUBLISHED_LEVELS
) -> tuple[float, ...]:
    """The more redundant the features (principal components, correlation), the tighter.

    >>> profile = CategoryProfile("texture", 24, 0.5, 0.697, 0.983, 0.793)
    >>> information_ratios(profile)
    (0.3, 0.7, 1.2)
    """
    return spread_over_levels(_by_information(profile), num_levels)


def balanced_ratios(
    profile: CategoryProfile, num_levels: int = PUBLISHED_LEVELS
) -> tuple[float, ...]:
    """The three others averaged, each weighted by the characteristic that it looks at.

    >>> profile = CategoryProfile("cluster_1", 24, 1.0, 0.697, 0.983, 0.793)
    >>> balanced_ratios(profile)
    (0.31, 0.85, 1.91)
    >>> balanced_ratios(profile, num_levels=5)
    (0.31, 0.58, 0.85, 1.38, 1.91)
    """
    weights = (
        profile.variance_score,
        profile.dimensionality_score,
        1.0 - profile.information_score,
    )
    total = sum(weights)
    shares = tuple(weight / total for weight in weights) if total > 0.0 else (1 / 3, 1 / 3, 1 / 3)
    rows = (_by_variance(profile), _by_dimensionality(profile), _by_information(profile))
    coarse, middle, fine = (
        round(sum(share * ratio for share, ratio in zip(shares, column, strict=True)), 2)
        for column in zip(*rows, strict=True)
    )
    return spread_over_levels((coarse, middle, fine), num_levels)


def spread_over_levels(published: Triple, num_levels: int) -> tuple[float, ...]:
    """Three-level ratios interpolated linearly over the level position, rounded to two digits.

    Three levels get the published ratios themselves, a single level that of L0.

    >>> spread_over_levels((0.5, 1.0, 1.5), 2), spread_over_levels((0.5, 1.0, 1.5), 1)
    ((0.5, 1.5), (0.5,))
    """
    return tuple(round(_interpolate(published, at), 2) for at in level_positions(num_levels))


def _interpolate(published: Triple, position: float) -> float:
    left = int(min(position, 1.0))
    share = position - left
    return (1.0 - share) * published[left] + share * published[left + 1]


def _by_variance(profile: CategoryProfile) -> Triple:
    if profile.variance_score > 0.7:
        return (0.25, 0.75, 2.0)
    if profile.variance_score > 0.4:
        return (0.4, 1.0, 1.8)
    return (0.5, 1.0, 1.5)


def _by_dimensionality(profile: CategoryProfile) -> Triple:
    if profile.dimensionality_score > 0.8:
        return (0.3, 0.8, 1.5)
    if profile.dimensionality_score > 0.5:
        return (0.4, 1.0, 1.8)
    return (0.5, 1.2, 2.0)


def _by_information(profile: CategoryProfile) -> Triple:
    redundancy = (profile.information_score + profile.correlation_score) / 2.0
    if redundancy > 0.7:
        return (0.3, 0.7, 1.2)
    if redundancy > 0.4:
        return (0.5, 1.0, 1.5)
    return (0.6, 1.5, 2.5)


STRATEGIES: dict[str, Strategy] = {
    row.name: row
    for row in (
        Strategy("variance", "more expansion where features vary much", variance_ratios),
        Strategy("dimensionality", "tighter where there are many features", dimensionality_ratios),
        Strategy("information", "tighter where features are redundant", information_ratios),
        Strategy("balanced", "weighted average of the three others", balanced_ratios),
        Strategy(
            "balanced_scale_free",
            "balanced, on scores that no unit changes",
            balanced_ratios,
            scale_free=True,
        ),
    )
}


def strategy_names() -> list[str]:
    """All that ``auto_compression_strategy`` may name: rules of ratios, and ``rate_distortion``."""
    return [*STRATEGIES, RATE_DISTORTION]


def get_strategy(name: str) -> Strategy:
    """The registry row called ``name``.

    Raises:
        ConfigError: no such strategy; the message lists the known ones and the nearest.

    >>> get_strategy("balanced").summary
    'weighted average of the three others'
    """
    if not (isinstance(name, str) and name in STRATEGIES):
        if name == RATE_DISTORTION:
            raise ConfigError(
                f"strategy {name!r} is no rule for the ratios of one category: it spends bits over "
                "all categories at once; name it in a configuration, or call "
                "spinlock.analysis.allocate_bits"
            )
        raise ConfigError(unknown("compression strategy", name, strategy_names()))
    return STRATEGIES[name]


def register_strategy(strategy: Strategy) -> None:
    """Add a row, so that ``auto_compression_strategy`` may name it.

    Raises:
        ConfigError: the name is taken or empty.
    """
    if not strategy.name:
        raise ConfigError("a compression strategy needs a name")
    if strategy.name in strategy_names():
        raise ConfigError(
            f"compression strategy {strategy.name!r} is registered already: choose another name"
        )
    STRATEGIES[strategy.name] = strategy
