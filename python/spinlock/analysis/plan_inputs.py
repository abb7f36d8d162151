"""What a plan is filled from: ratios and levels by category, given, computed or allocated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spinlock.analysis._names import check_same_names
from spinlock.analysis.allocation_record import RATE_DISTORTION, BitAllocation
from spinlock.analysis.dims import Level
from spinlock.analysis.profile import CategoryProfile
from spinlock.analysis.ratios import AutoRatios, PerCategoryRatios, UniformRatios
from spinlock.analysis.strategy_choice import category_ratios, category_strategy
from spinlock.errors import ConfigError


def given_ratios(
    ratios: UniformRatios | PerCategoryRatios, counts: Mapping[str, int], key: str
) -> Mapping[str, tuple[float, ...]]:
    """Ratios that are written in the configuration, by category; messages call them ``key``."""
    if isinstance(ratios, UniformRatios):
        return dict.fromkeys(counts, ratios.ratios)
    remedy = "give one list of ratios per category"
    check_same_names(key, ratios.ratios, counts, remedy)
    return ratios.ratios


def computed_ratios(
    ratios: AutoRatios,
    counts: Mapping[str, int],
    profiles: Mapping[str, CategoryProfile],
    num_levels: int,
    families: Mapping[str, Sequence[str]],
    allocation: BitAllocation | None,
) -> Mapping[str, tuple[float, ...]]:
    """Ratios that a strategy makes of the profiles, or that an allocation comes to."""
    if (allocation is not None) != (ratios.strategy == RATE_DISTORTION):
        raise ConfigError(
            f"strategy {RATE_DISTORTION!r} and an allocation belong together: make one with "
            "allocate_bits, from rows as the model will see them"
        )
    if allocation is not None:
        return {c.name: (c.ratio,) * num_levels for c in allocation.categories}
    found = {}
    for name in counts:
        choice = category_strategy(ratios.strategy, families.get(name, ()))
        computed = category_ratios(choice, profiles[name], num_levels)
        found[name] = UniformRatios(computed).ratios
    return found


def allocated_levels(
    allocation: BitAllocation, counts: Mapping[str, int], overrides: Mapping[str, Sequence[Level]]
) -> Mapping[str, Sequence[Level]]:
    """The allocation's latent dims and codebook sizes, under those given by hand."""
    allocated = {category.name: category for category in allocation.categories}
    check_same_names("allocation", allocated, counts, "allocate bits to every category once")

    def levels(name: str) -> Sequence[Level]:
        category = allocated[name]
        filled = [
            {"latent_dim": category.latent_dim, "num_tokens": size}
            for size in category.codebook_sizes
        ]
        by_hand = overrides.get(name, [{}] * len(filled))
        if len(by_hand) != len(filled):
            return by_hand  # the number of levels is checked, and the error made, in one place
        return [
            {**made, **{key: value for key, value in level.items() if value is not None}}
            for made, level in zip(filled, by_hand, strict=True)
        ]

    return {name: levels(name) for name in counts}
