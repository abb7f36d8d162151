"""From feature counts and ratios to the compression plan: the one place where it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

from spinlock.analysis._names import check_choice, check_same_names
from spinlock.analysis.allocation_record import BitAllocation
from spinlock.analysis.compression_plan import CategoryPlan, CompressionPlan, LevelPlan
from spinlock.analysis.dims import (
    CODEBOOK_SIZINGS,
    CodebookSizing,
    Level,
    align_up,
    check_alignment,
    check_count,
    check_levels,
    fill_latent_dims,
    fill_num_tokens,
)
from spinlock.analysis.plan_inputs import allocated_levels, computed_ratios, given_ratios
from spinlock.analysis.profile import CategoryProfile
from spinlock.analysis.ratios import (
    AutoRatios,
    CompressionRatios,
    PerCategoryRatios,
    UniformRatios,
)
from spinlock.analysis.strategies import PUBLISHED_LEVELS
from spinlock.analysis.strategy_choice import PerLevelStrategies
from spinlock.errors import ConfigError

__all__ = [
    "HIERARCHIES",
    "CategoryPlan",
    "CompressionPlan",
    "Hierarchy",
    "LevelPlan",
    "build_plan",
    "plan_from_saved_ratios",
]

Hierarchy = Literal["residual", "independent"]
HIERARCHIES: tuple[str, ...] = get_args(Hierarchy)


def build_plan(
    *,
    feature_counts: Mapping[str, int],
    ratios: CompressionRatios,
    profiles: Mapping[str, CategoryProfile] | None = None,
    num_levels: int | None = None,
    codebook_sizing: CodebookSizing = "latent_dims",
    hierarchy: Hierarchy = "residual",
    alignment: int = 4,
    num_samples: int | None = None,
    level_overrides: Mapping[str, Sequence[Level]] | None = None,
    category_families: Mapping[str, Sequence[str]] | None = None,
    allocation: BitAllocation | None = None,
    section: str = "",
) -> CompressionPlan:
    """Resolve every latent dim and codebook size.

    Args:
        feature_counts: number of cleaned features by category, in the order kept everywhere.
        ratios: as :func:`~spinlock.analysis.ratios.parse_compression_ratios` reads them.
        profiles: what was measured, by category; needed by ``AutoRatios``.
        num_levels: where omitted, as many as ``ratios`` or ``level_overrides`` have, else 3.
        codebook_sizing: ``latent_dims`` (from each level's own latent dim) or ``feature_count``.
        hierarchy: ``residual`` caps latent dims at the category's features, whose coordinates
            they are; ``independent`` has heads of any width.
        alignment: power of two to which latent dims are rounded up and padded, in elements.
        num_samples: training rows, which ``feature_count`` reads.
        level_overrides: by category, one entry per level with any of ``latent_dim`` and
            ``num_tokens``; the rest is filled.  A given latent dim is kept, and padded.
        category_families: by category the families of its columns, for strategies per family.
        allocation: what :func:`~spinlock.analysis.bit_allocation.allocate_bits` decided, for the
            strategy ``rate_distortion``: it fills latent dims and codebook sizes.
        section: what messages put before the names of keys, such as ``model.``.

    Raises:
        ConfigError: missing or unknown categories (all of them named), numbers of levels that
            disagree, values out of range, profiles missing or of other features.

    >>> plan = build_plan(
    ...     feature_counts={"shape": 24, "colour": 5}, ratios=UniformRatios((0.5, 1.0, 1.5)),
    ...     level_overrides={"shape": [{}, {"num_tokens": 64}, {"latent_dim": 10}]})
    >>> plan.latent_dims, plan.codebook_sizes
    (((12, 24, 10), (4, 5, 5)), ((24, 64, 20), (12, 16, 16)))
    >>> [level.padded_dim for level in plan.categories[1].levels]
    [4, 8, 8]
    """
    check_choice("codebook_sizing", codebook_sizing, CODEBOOK_SIZINGS)
    check_choice("hierarchy", hierarchy, HIERARCHIES)
    overrides = level_overrides or {}
    counts = _checked_counts(feature_counts)
    check_alignment(alignment)
    _check_overrides(overrides, counts, f"{section}levels")
    if allocation is not None:
        overrides = allocated_levels(allocation, counts, overrides)
    levels = _resolve_num_levels(num_levels, ratios, overrides, section)
    measured = _checked_profiles(profiles, counts, required=isinstance(ratios, AutoRatios))
    if isinstance(ratios, AutoRatios):
        by_category = computed_ratios(
            ratios, counts, measured, levels, category_families or {}, allocation
        )
    else:
        by_category = given_ratios(ratios, counts, f"{section}compression_ratios")

    def category(name: str) -> CategoryPlan:
        where = f"{section}levels.{name}"
        filled = fill_latent_dims(
            overrides.get(name, [{}] * levels),
            counts[name],
            by_category[name],
            alignment=alignment,
            limit=counts[name] if hierarchy == "residual" else None,
            where=where,
        )
        filled = fill_num_tokens(
            filled,
            codebook_sizing=codebook_sizing,
            num_features=counts[name],
            num_samples=num_samples,
            where=where,
        )
        return CategoryPlan(
            name=name,
            num_features=counts[name],
            profile=measured.get(name),
            ratios=by_category[name],
            levels=tuple(
                LevelPlan(**level, padded_dim=align_up(level["latent_dim"], alignment))
                for level in filled
            ),
        )

    return CompressionPlan(
        source=_source(ratios),
        strategy=str(ratios.strategy) if isinstance(ratios, AutoRatios) else None,
        codebook_sizing=codebook_sizing,
        alignment=alignment,
        categories=tuple(category(name) for name in counts),
        allocation=allocation,
    )


def plan_from_saved_ratios(
    *,
    feature_counts: Mapping[str, int],
    strategy: str,
    ratios: Mapping[str, Sequence[float]],
    metrics: Mapping[str, Mapping[str, float]],
    num_levels: int | None = None,
    codebook_sizing: CodebookSizing = "latent_dims",
    hierarchy: Hierarchy = "residual",
    alignment: int = 4,
    num_samples: int | None = None,
    level_overrides: Mapping[str, Sequence[Level]] | None = None,
    allocation: BitAllocation | None = None,
    section: str = "",
) -> CompressionPlan:
    """The plan of a saved configuration, from its computed ratios and metrics: nothing measured.

    It equals the plan that was saved (:meth:`CompressionPlan.computed_ratios`,
    :meth:`CompressionPlan.metrics`), except that its profiles have no spectrum.

    Args:
        strategy: the text of what computed the ratios; it need not be registered any more.
        ratios: computed ratios by category.
        metrics: the four scores by category.
        num_levels: the number expected; saved ratios of another number are refused.
        feature_counts, codebook_sizing, hierarchy, alignment, num_samples, level_overrides,
            allocation, section: as in :func:`build_plan`.

    Raises:
        ConfigError: the saved categories are not those of ``feature_counts``, or as in
            :func:`build_plan`.
    """
    remedy = "measure anew with --recompute-ratios"
    saved = PerCategoryRatios({name: tuple(levels) for name, levels in ratios.items()})
    computed, measured = (f"{section}compression_ratios_{key}" for key in ("computed", "metrics"))
    check_same_names(computed, saved.ratios, feature_counts, remedy)
    check_same_names(measured, metrics, feature_counts, remedy)
    counts = _checked_counts(feature_counts)
    profiles = {
        name: CategoryProfile.from_scores(name, count, metrics[name])
        for name, count in counts.items()
    }
    plan = build_plan(
        feature_counts=counts,
        ratios=saved,
        profiles=profiles,
        num_levels=num_levels,
        codebook_sizing=codebook_sizing,
        hierarchy=hierarchy,
        alignment=alignment,
        num_samples=num_samples,
        level_overrides=level_overrides,
        allocation=allocation,
        section=section,
    )
    return replace(plan, source="auto", strategy=strategy)


def _source(ratios: CompressionRatios) -> str:
    if isinstance(ratios, AutoRatios):
        return "auto"
    return "uniform" if isinstance(ratios, UniformRatios) else "per_category"


def _checked_counts(feature_counts: Mapping[str, int]) -> dict[str, int]:
    if not feature_counts:
        raise ConfigError("there are no categories: at least one with one feature is needed")
    return {
        name: check_count(f"number of features of category {name!r}", count)
        for name, count in feature_counts.items()
    }


def _check_overrides(
    overrides: Mapping[str, Sequence[Level]], counts: Mapping[str, int], key: str
) -> None:
    unknown = [name for name in overrides if name not in counts]
    if unknown:
        raise ConfigError(
            f"{key}: given for unknown {', '.join(unknown)}; the categories are {', '.join(counts)}"
        )
    for name, levels in overrides.items():
        check_levels(levels, f"{key}.{name}")


def _resolve_num_levels(
    num_levels: int | None,
    ratios: CompressionRatios,
    overrides: Mapping[str, Sequence[Level]],
    section: str,
) -> int:
    stated: dict[str, int] = {}
    if num_levels is not None:
        stated["num_levels"] = check_count(f"{section}num_levels", num_levels)
    if not isinstance(ratios, AutoRatios):
        stated["compression_ratios"] = ratios.num_levels
    elif isinstance(ratios.strategy, PerLevelStrategies):
        stated["auto_compression_strategy"] = len(ratios.strategy.names)
    stated |= {f"levels.{name}": len(levels) for name, levels in overrides.items()}
    if len(set(stated.values())) > 1:
        found = ", ".join(f"{section}{key} says {count}" for key, count in stated.items())
        raise ConfigError(f"the number of levels must be the same everywhere: {found}")
    return next(iter(stated.values()), PUBLISHED_LEVELS)


def _checked_profiles(
    profiles: Mapping[str, CategoryProfile] | None, counts: Mapping[str, int], *, required: bool
) -> Mapping[str, CategoryProfile]:
    if profiles is None and not required:
        return {}
    check_same_names("profiles", profiles or {}, counts, "profile every category once")
    for name, profile in (profiles or {}).items():
        if profile.num_features != counts[name]:
            raise ConfigError(
                f"category {name!r} has {counts[name]} features, but its profile was made of "
                f"{profile.num_features}: profile the features that the model will see"
            )
    return profiles or {}
