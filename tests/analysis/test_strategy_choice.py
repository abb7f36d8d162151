"""One strategy, one per level, one per family: what is read, what is refused, what comes out."""

from typing import Any

import numpy as np
import pytest

from spinlock.analysis.allocation_record import RateDistortionOptions
from spinlock.analysis.bit_allocation import allocate_bits
from spinlock.analysis.compression_plan import CompressionPlan
from spinlock.analysis.plan import build_plan, plan_from_saved_ratios
from spinlock.analysis.profile import CategoryProfile, profile_category
from spinlock.analysis.ratios import AutoRatios, UniformRatios
from spinlock.analysis.strategies import STRATEGIES
from spinlock.analysis.strategy_choice import (
    PerFamilyStrategies,
    PerLevelStrategies,
    check_strategy,
    parse_strategy,
    reads_scale_free,
)
from spinlock.errors import ConfigError

COUNTS = {"wide": 24, "narrow": 5}
PROFILES = {
    "wide": CategoryProfile("wide", 24, 1.0, 0.697, 0.983, 0.793),
    "narrow": CategoryProfile("narrow", 5, 0.5, 0.388, 1.0, 0.2),
}

BAD_FORMS: list[tuple[Any, str]] = [
    (None, "must be the name of a strategy"),
    ("", "must be the name of a strategy"),
    (["balanced"], "must be the name of a strategy"),
    ({}, "must be the name of a strategy"),
    ({"L0": None}, "must map levels or families to names of strategies, got 'L0': None"),
    ({0: "balanced"}, "must map levels or families"),
    ({"L0": "variance", "L2": "balanced"}, "2 levels, of which L1 is missing: give L0, L1"),
    ({"L1": "variance"}, "1 levels, of which L0 is missing"),
    ({"L0": "variance", "default": "balanced"}, r"names levels \(L0\) beside default"),
    ({"L0": "variance", "temporal": "balanced"}, "per level or one per family, not both"),
    ({"temporal": "variance"}, "names families .temporal. but no 'default'"),
    ({"l0": "variance", "l1": "balanced"}, "no 'default'"),
]


@pytest.mark.parametrize(("value", "reason"), BAD_FORMS)
def test_bad_forms(value: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^strategy .*{reason}"):
        parse_strategy(value, key="strategy")


BAD_MIXTURES: list[tuple[Any, str]] = [
    ("balansed", "did you mean 'balanced'"),
    ({"L0": "balansed"}, "L0: unknown compression strategy 'balansed'"),
    ({"shape": "variants", "default": "balanced"}, "shape: unknown .* did you mean 'variance'"),
    ({"default": "nothing"}, "default: unknown"),
    ({"L0": "variance", "L1": "rate_distortion"}, "L1: 'rate_distortion' spends one budget"),
    ({"a": "rate_distortion", "default": "balanced"}, "a: 'rate_distortion' .* name it alone"),
    ({"default": "rate_distortion"}, "default: 'rate_distortion'"),
    ({"L0": "balanced", "L1": "balanced_scale_free"}, "L1: .* reads other scores"),
]


@pytest.mark.parametrize(("value", "reason"), BAD_MIXTURES)
def test_bad_mixtures(value: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_strategy(parse_strategy(value))
    with pytest.raises(ConfigError, match=reason):
        AutoRatios(parse_strategy(value))


def test_scale_free_strategies_mix_by_family_and_with_themselves() -> None:
    check_strategy(PerFamilyStrategies((("a", "balanced_scale_free"),), "variance"))
    own = PerLevelStrategies(("balanced_scale_free",) * 2)
    check_strategy(own)
    assert reads_scale_free(own)
    assert not reads_scale_free(PerLevelStrategies(("balanced", "variance")))


def test_each_level_has_the_ratio_of_its_own_strategy() -> None:
    choice = PerLevelStrategies(("information", "variance", "balanced"))
    plan = build_plan(feature_counts=COUNTS, profiles=PROFILES, ratios=AutoRatios(choice))
    for category in plan.categories:
        expected = tuple(
            STRATEGIES[name](PROFILES[category.name], 3)[level]
            for level, name in enumerate(choice.names)
        )
        assert category.ratios == expected
    assert plan.strategy == "L0: information, L1: variance, L2: balanced"
    assert CompressionPlan.from_dict(plan.to_dict()) == plan


def test_strategies_per_level_set_the_number_of_levels() -> None:
    two = AutoRatios(PerLevelStrategies(("variance", "balanced")))
    plan = build_plan(feature_counts=COUNTS, profiles=PROFILES, ratios=two)
    assert plan.num_levels == 2
    with pytest.raises(ConfigError, match="num_levels says 3, auto_compression_strategy says 2"):
        build_plan(feature_counts=COUNTS, profiles=PROFILES, ratios=two, num_levels=3)


def test_a_category_has_the_strategy_of_its_families() -> None:
    choice = PerFamilyStrategies((("shape", "variance"), ("form", "variance")), "information")

    def strategy_of(*families: str) -> str:
        return choice.of(families)

    assert strategy_of("shape") == strategy_of("shape", "form") == "variance"
    assert strategy_of("shape", "other") == strategy_of("other") == strategy_of() == "information"
    plan = build_plan(
        feature_counts=COUNTS,
        profiles=PROFILES,
        ratios=AutoRatios(choice),
        category_families={"wide": ("shape", "form"), "narrow": ("other",)},
    )
    wide, narrow = plan.categories
    assert wide.ratios == STRATEGIES["variance"](PROFILES["wide"])
    assert narrow.ratios == STRATEGIES["information"](PROFILES["narrow"])
    assert plan.strategy == "shape: variance, form: variance, default: information"


def rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=(400, count)) for name, count in COUNTS.items()}


def test_an_allocation_fills_dims_and_sizes() -> None:
    data = rows()
    options: dict[str, Any] = {
        "feature_counts": COUNTS,
        "profiles": {name: profile_category(name, values) for name, values in data.items()},
        "ratios": AutoRatios("rate_distortion"),
    }
    found = allocate_bits(data, default_bits=24.0)
    plan = build_plan(**options, allocation=found)
    assert (plan.source, plan.strategy, plan.allocation) == ("auto", "rate_distortion", found)
    for category, allocated in zip(plan.categories, found.categories, strict=True):
        assert tuple(v.num_tokens for v in category.levels) == allocated.codebook_sizes
        assert {v.latent_dim for v in category.levels} == {allocated.latent_dim}
        assert category.ratios == (allocated.ratio,) * 3
    assert CompressionPlan.from_dict(plan.to_dict()) == plan
    again = plan_from_saved_ratios(
        feature_counts=COUNTS,
        strategy="rate_distortion",
        ratios=plan.computed_ratios(),
        metrics=plan.metrics(),
        allocation=found,
    )
    assert (again.latent_dims, again.codebook_sizes) == (plan.latent_dims, plan.codebook_sizes)
    assert again.allocation == found
    by_hand = build_plan(
        **options, allocation=found, level_overrides={"narrow": [{"latent_dim": 3}, {}, {}]}
    )
    assert by_hand.latent_dims[1] == (3, *plan.latent_dims[1][1:])
    assert by_hand.codebook_sizes == plan.codebook_sizes


def test_an_allocation_belongs_to_its_strategy_and_categories() -> None:
    data = rows()
    profiles = {name: profile_category(name, values) for name, values in data.items()}
    found = allocate_bits(data, default_bits=24.0, options=RateDistortionOptions(alpha=1.0))
    auto = AutoRatios("rate_distortion")
    with pytest.raises(ConfigError, match="belong together"):
        build_plan(feature_counts=COUNTS, profiles=profiles, ratios=auto)
    with pytest.raises(ConfigError, match="belong together"):
        build_plan(feature_counts=COUNTS, profiles=profiles, ratios=AutoRatios(), allocation=found)
    with pytest.raises(ConfigError, match="allocation: missing for other"):
        build_plan(
            feature_counts={**COUNTS, "other": 2}, ratios=UniformRatios((1.0,)), allocation=found
        )
    with pytest.raises(ConfigError, match=r"num_levels says 2, levels\.wide says 3"):
        build_plan(
            feature_counts=COUNTS, profiles=profiles, ratios=auto, allocation=found, num_levels=2
        )
    tree = build_plan(
        feature_counts=COUNTS, profiles=profiles, ratios=auto, allocation=found
    ).to_dict()
    tree["allocation"]["categories"].pop("wide")
    with pytest.raises(ConfigError, match="is for narrow, but its categories are wide, narrow"):
        CompressionPlan.from_dict(tree)
