"""The step that turns ``compression_ratios`` of any form into a plan with every dimension."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from spinlock.analysis.plan import CompressionPlan, build_plan
from spinlock.analysis.profile import CategoryProfile, profile_category
from spinlock.analysis.ratios import AutoRatios, PerCategoryRatios, parse_compression_ratios
from spinlock.errors import ConfigError
from spinlock.training.preprocessing import Matrix

if TYPE_CHECKING:
    from spinlock.config import TrainConfig
    from spinlock.data.categories import CategoryGroups


def precompute_compression_ratios(
    config: TrainConfig, cleaned: Matrix, groups: CategoryGroups
) -> CompressionPlan:
    """Ratios, latent dims and codebook sizes per category, for the training rows.

    ``compression_ratios: auto`` measures each category with the configured strategy, or takes
    ``compression_ratios_computed`` where the configuration carries them; see :func:`reuses_ratios`.

    Args:
        config: a run's configuration.
        cleaned: ``[N, D_kept]`` training rows, cleaned but *not* normalised: normalising would
            make every variance 1.
        groups: columns of ``cleaned`` per category.

    Raises:
        ConfigError: computed, given or overridden ratios and levels of other categories.
        DataError: features that have no profile.
    """
    model = config.model
    ratios: Any = parse_compression_ratios(model.compression_ratios, strategy_of(config))
    profiles: dict[str, CategoryProfile] | None = None
    computed = model.compression_ratios_computed if isinstance(ratios, AutoRatios) else None
    if computed is not None:
        _check_names(tuple(computed), groups.names)
        ratios = PerCategoryRatios({name: tuple(computed[name]) for name in groups.names})
        profiles = _stored_profiles(config, groups)
    elif isinstance(ratios, AutoRatios):
        profiles = {
            name: profile_category(name, cleaned[:, list(columns)])
            for name, columns in zip(groups.names, groups.columns, strict=True)
        }
    plan = build_plan(
        feature_counts=dict(zip(groups.names, groups.sizes, strict=True)),
        profiles=profiles,
        ratios=ratios,
        num_levels=model.num_levels,
        codebook_sizing=model.codebook_sizing,
        hierarchy=model.hierarchy,
        num_samples=len(cleaned),
        level_overrides=_level_overrides(config),
    )
    if computed is not None:
        return dataclasses.replace(plan, source="auto", strategy=strategy_of(config))
    return plan


def reuses_ratios(config: TrainConfig) -> bool:
    """The configuration is ``auto`` and carries ratios that an earlier run computed."""
    automatic = config.model.compression_ratios == "auto"
    return automatic and config.model.compression_ratios_computed is not None


def without_computed_ratios(config: TrainConfig) -> TrainConfig:
    """The configuration as it was before any run, so that ratios are measured anew."""
    return _with_model(
        config,
        compression_ratios_strategy=None,
        compression_ratios_computed=None,
        compression_ratios_metrics=None,
    )


def resolved_config(config: TrainConfig, plan: CompressionPlan) -> TrainConfig:
    """The configuration that a checkpoint keeps: what ``auto`` computed is written into it."""
    if plan.source != "auto":
        return config
    metrics = {c.name: c.profile.scores() for c in plan.categories if c.profile is not None}
    return _with_model(
        config,
        compression_ratios_strategy=plan.strategy,
        compression_ratios_computed={c.name: list(c.ratios) for c in plan.categories},
        compression_ratios_metrics=metrics or None,
    )


def strategy_of(config: TrainConfig) -> str:
    """The strategy that computed the ratios, or that will."""
    model = config.model
    if reuses_ratios(config) and model.compression_ratios_strategy is not None:
        return str(model.compression_ratios_strategy)
    return str(model.auto_compression_strategy)


def _with_model(config: TrainConfig, **changes: Any) -> TrainConfig:
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def _check_names(computed: tuple[str, ...], found: tuple[str, ...]) -> None:
    if set(computed) != set(found):
        raise ConfigError(
            "model.compression_ratios_computed was computed for other categories: it names "
            f"{', '.join(sorted(computed))}; this data has {', '.join(found)}. Measure them anew "
            "with --recompute-ratios, or remove compression_ratios_computed"
        )


def _stored_profiles(
    config: TrainConfig, groups: CategoryGroups
) -> dict[str, CategoryProfile] | None:
    """Profiles, without spectra, from the metrics beside computed ratios, where there are any."""
    metrics = config.model.compression_ratios_metrics
    if metrics is None:
        return None
    _check_names(tuple(metrics), groups.names)
    return {
        name: CategoryProfile.from_scores(name, size, metrics[name])
        for name, size in zip(groups.names, groups.sizes, strict=True)
    }


def _level_overrides(config: TrainConfig) -> dict[str, list[dict[str, int]]] | None:
    if config.model.levels is None:
        return None
    return {
        name: [level.model_dump(exclude_none=True) for level in levels]
        for name, levels in config.model.levels.items()
    }
