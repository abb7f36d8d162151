"""The plan: every dimension from counts, ratios and alignment; names checked; round trips."""

import json
import math
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.analysis.plan import CompressionPlan, LevelPlan, build_plan, plan_from_saved_ratios
from spinlock.analysis.profile import CategoryProfile, profile_category
from spinlock.analysis.ratios import AutoRatios, PerCategoryRatios, UniformRatios
from spinlock.analysis.strategies import STRATEGIES
from spinlock.errors import ConfigError

COUNTS = {"wide": 24, "narrow": 5, "single": 1}
UNIFORM = UniformRatios((0.5, 1.0, 1.5))


def measured(counts: dict[str, int] = COUNTS) -> dict[str, CategoryProfile]:
    rng = np.random.default_rng(0)
    return {name: profile_category(name, rng.normal(size=(60, n))) for name, n in counts.items()}


def test_uniform_plan() -> None:
    plan = build_plan(feature_counts=COUNTS, ratios=UNIFORM)
    assert (plan.source, plan.strategy, plan.codebook_sizing) == ("uniform", None, "latent_dims")
    assert plan.names == ("wide", "narrow", "single")
    assert plan.ratios == ((0.5, 1.0, 1.5),) * 3
    assert plan.latent_dims == ((12, 24, 24), (4, 5, 5), (1, 1, 1))
    assert [[v.padded_dim for v in c.levels] for c in plan.categories] == [
        [12, 24, 24],
        [4, 8, 8],
        [4, 4, 4],
    ]
    assert plan.codebook_sizes == ((24, 32, 32), (12, 16, 16), (2, 2, 2))
    assert plan.num_levels == 3
    assert plan.total_codes == 138
    assert plan.bits == pytest.approx(math.log2(24 * 32 * 32 * 12 * 16 * 16 * 8))
    assert plan.bits == pytest.approx(sum(category.bits for category in plan.categories))


def test_independent_levels_are_as_wide_as_the_ratios_say() -> None:
    plan = build_plan(feature_counts=COUNTS, ratios=UNIFORM, hierarchy="independent")
    assert plan.latent_dims == ((12, 24, 36), (4, 8, 8), (4, 4, 4))


def test_feature_count_sizing() -> None:
    plan = build_plan(
        feature_counts=COUNTS, ratios=UNIFORM, codebook_sizing="feature_count", num_samples=10_000
    )
    assert plan.codebook_sizes == ((32, 16, 8), (16, 8, 6), (15, 6, 6))
    with pytest.raises(ConfigError, match="num_samples"):
        build_plan(feature_counts=COUNTS, ratios=UNIFORM, codebook_sizing="feature_count")


def test_auto_plan_holds_what_was_measured() -> None:
    profiles = measured()
    plan = build_plan(feature_counts=COUNTS, profiles=profiles, ratios=AutoRatios("variance"))
    assert (plan.source, plan.strategy) == ("auto", "variance")
    for category in plan.categories:
        assert category.profile == profiles[category.name]
        assert category.ratios == STRATEGIES["variance"](profiles[category.name], 3)
    four = build_plan(feature_counts=COUNTS, profiles=profiles, ratios=AutoRatios(), num_levels=4)
    assert four.num_levels == 4


def test_per_category_ratios_may_come_in_any_order() -> None:
    ratios = PerCategoryRatios({"single": (1.0,), "wide": (0.5,), "narrow": (2.0,)})
    plan = build_plan(feature_counts=COUNTS, ratios=ratios, alignment=8)
    assert plan.source == "per_category"
    assert plan.names == tuple(COUNTS)
    assert plan.ratios == ((0.5,), (2.0,), (1.0,))
    assert [c.levels[0] for c in plan.categories] == [
        LevelPlan(16, 16, 28),
        LevelPlan(5, 8, 16),
        LevelPlan(1, 8, 2),
    ]


def test_level_overrides_are_kept_and_the_rest_filled() -> None:
    plan = build_plan(
        feature_counts=COUNTS,
        ratios=UNIFORM,
        level_overrides={"wide": [{"latent_dim": 6}, {"num_tokens": 100}, {"latent_dim": None}]},
    )
    assert plan.categories[0].levels == (
        LevelPlan(6, 8, 16),
        LevelPlan(24, 24, 100),
        LevelPlan(24, 24, 32),
    )
    assert plan.latent_dims[1] == (4, 5, 5)


def test_the_number_of_levels_may_come_from_the_overrides() -> None:
    overrides = {"wide": [{"num_tokens": 8}, {}]}
    plan = build_plan(
        feature_counts=COUNTS, profiles=measured(), ratios=AutoRatios(), level_overrides=overrides
    )
    assert plan.num_levels == 2


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no categories": ({"feature_counts": {}}, "no categories"),
    "no features": ({"feature_counts": {"a": 0}}, "features of category 'a'.*got 0"),
    "missing and unknown": (
        {"ratios": PerCategoryRatios({"wide": (1.0,), "wdie": (1.0,), "x": (1.0,)})},
        "compression_ratios: missing for narrow, single and given for unknown wdie, x; "
        "the categories are wide, narrow, single",
    ),
    "auto without profiles": ({"ratios": AutoRatios()}, "profiles: missing for wide, narrow"),
    "some profiles": (
        {"ratios": AutoRatios(), "profiles": measured({"wide": 24, "old": 3})},
        "profiles: missing for narrow, single and given for unknown old",
    ),
    "stale profile": (
        {"ratios": AutoRatios(), "profiles": measured({**COUNTS, "wide": 23})},
        "'wide' has 24 features, but its profile was made of 23",
    ),
    "unknown override": ({"level_overrides": {"x": [{}]}}, "unknown x; the categories are wide"),
    "override without levels": ({"level_overrides": {"wide": []}}, r"levels\.wide must be a list"),
    "levels disagree": (
        {"num_levels": 2, "level_overrides": {"wide": [{}] * 4}},
        "num_levels says 2, compression_ratios says 3, levels.wide says 4",
    ),
    "override too wide": (
        {"level_overrides": {"narrow": [{}, {"latent_dim": 6}, {}]}},
        r"levels\.narrow\[1\]\.latent_dim is 6.*at most 5",
    ),
    "misspelt override": (
        {"level_overrides": {"wide": [{"tokens": 6}, {}, {}]}},
        r"levels\.wide\[0\]: unknown key 'tokens'.*did you mean 'num_tokens'",
    ),
    "alignment": ({"alignment": 6}, "power of two"),
    "sizing": ({"codebook_sizing": "feature_counts"}, "did you mean 'feature_count'"),
    "hierarchy": ({"hierarchy": "residuals"}, "did you mean 'residual'"),
    "levels": ({"num_levels": 0}, "num_levels must be an integer >= 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_plans_raise(case: str) -> None:
    changes, reason = BAD[case]
    with pytest.raises(ConfigError, match=reason):
        build_plan(**{"feature_counts": COUNTS, "ratios": UNIFORM, **changes})


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    ratios=st.lists(st.floats(0.05, 4.0), min_size=1, max_size=5),
    alignment=st.sampled_from([1, 4, 16]),
    hierarchy=st.sampled_from(["residual", "independent"]),
    sizing=st.sampled_from(["latent_dims", "feature_count"]),
    profiled=st.booleans(),
)
def test_plans_survive_json_and_yaml(
    sizes: list[int], ratios: list[float], alignment: int, hierarchy: Any, sizing: Any,
    profiled: bool,
) -> None:  # fmt: skip
    counts = {f"cluster_{index + 1}": size for index, size in enumerate(sizes)}
    plan = build_plan(
        feature_counts=counts,
        profiles=measured(counts) if profiled else None,
        ratios=UniformRatios(tuple(ratios)),
        alignment=alignment,
        hierarchy=hierarchy,
        codebook_sizing=sizing,
        num_samples=2000,
    )
    assert CompressionPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert CompressionPlan.from_dict(yaml.safe_load(yaml.safe_dump(plan.to_dict()))) == plan
    assert hash(plan) == hash(CompressionPlan.from_dict(plan.to_dict()))
    for category in plan.categories:
        for level in category.levels:
            assert level.padded_dim % alignment == 0
            assert 0 <= level.padded_dim - level.latent_dim < alignment
            assert level.num_tokens >= 2
            assert hierarchy == "independent" or level.latent_dim <= category.num_features


def test_saved_ratios_rebuild_the_plan_without_measuring() -> None:
    options: dict[str, Any] = {
        "codebook_sizing": "feature_count",
        "num_samples": 3000,
        "level_overrides": {"wide": [{"num_tokens": 9}, {}, {}]},
    }
    plan = build_plan(
        feature_counts=COUNTS, profiles=measured(), ratios=AutoRatios("information"), **options
    )
    saved = yaml.safe_load(
        yaml.safe_dump({"ratios": plan.computed_ratios(), "metrics": plan.metrics()})
    )
    again = plan_from_saved_ratios(
        feature_counts=COUNTS, strategy="information", **saved, **options
    )
    assert again.computed_ratios() == plan.computed_ratios()
    assert again.metrics() == plan.metrics()
    assert (again.source, again.strategy) == ("auto", "information")
    assert (again.latent_dims, again.codebook_sizes) == (plan.latent_dims, plan.codebook_sizes)
    assert all(category.profile.spectrum == () for category in again.categories)  # type: ignore[union-attr]


def test_saved_ratios_of_other_categories_are_refused() -> None:
    plan = build_plan(feature_counts=COUNTS, profiles=measured(), ratios=AutoRatios())
    counts = {"wide": 24, "narrow": 5, "new": 3}
    with pytest.raises(
        ConfigError, match=r"missing for new and given for unknown single.*--recomp"
    ):
        plan_from_saved_ratios(
            feature_counts=counts,
            strategy="balanced",
            ratios=plan.computed_ratios(),
            metrics=plan.metrics(),
        )
    with pytest.raises(ConfigError, match="num_levels says 2, compression_ratios says 3"):
        plan_from_saved_ratios(
            feature_counts=COUNTS,
            strategy="balanced",
            ratios=plan.computed_ratios(),
            metrics=plan.metrics(),
            num_levels=2,
        )
    with pytest.raises(ConfigError, match="metrics: missing for narrow, single"):
        plan_from_saved_ratios(
            feature_counts=COUNTS,
            strategy="balanced",
            ratios=plan.computed_ratios(),
            metrics={"wide": plan.metrics()["wide"]},
        )


def damaged(path: str, value: Any) -> dict[str, Any]:
    """The dict of a plan with one entry replaced, or deleted where the value is ``...``."""
    data = build_plan(feature_counts=COUNTS, profiles=measured(), ratios=UNIFORM).to_dict()
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("."))
    node: Any = data
    for key in parents:
        node = node[key]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("strategy", ..., "plan must have the keys"),
        ("extra", 1, "plan must have the keys"),
        ("strategy", 3, "plan.strategy"),
        ("source", "guessed", "plan.source"),
        ("alignment", 3, "power of two"),
        ("codebook_sizing", None, "codebook_sizing"),
        ("categories", [], "at least one category"),
        ("categories", {}, "must be a list"),
        ("categories.0", None, r"categories\[0\] must map"),
        ("categories.0.name", 3, "name must be text"),
        ("categories.0.name", "narrow", "a category twice"),
        ("categories.0.num_features", 23, "spectrum has 24 values for 23"),
        ("categories.1.ratios", [1.0], "3 levels but 1 ratios"),
        ("categories.1.profile.spectrum", 4, "must be a list"),
        ("categories.1.profile.variance_score", "1", "variance_score must be a number"),
        ("categories.1.levels.0.num_tokens", "8", r"levels\[0\].num_tokens must be an integer"),
        ("categories.1.levels.0.padded_dim", ..., r"levels\[0\] must have the keys"),
    ],
)
def test_damaged_plans_are_refused(path: str, value: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        CompressionPlan.from_dict(damaged(path, value))


def test_categories_share_the_number_of_levels() -> None:
    data = damaged("categories.1.ratios", [1.0])
    data["categories"][1]["levels"] = data["categories"][1]["levels"][:1]
    with pytest.raises(ConfigError, match=r"same number of levels.*\[3, 1, 3\]"):
        CompressionPlan.from_dict(data)
