"""The step that turns ``compression_ratios`` of any form into a plan with every dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spinlock.analysis.plan import CompressionPlan, build_plan, plan_from_saved_ratios
from spinlock.analysis.profile import CategoryProfile, profile_category
from spinlock.analysis.ratios import AutoRatios, parse_compression_ratios
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
    return plan_from_profiles(
        config,
        groups,
        len(cleaned),
        lambda name, columns: profile_category(name, cleaned[:, columns]),
    )


def plan_from_profiles(
    config: TrainConfig,
    groups: CategoryGroups,
    training_rows: int,
    profile: Callable[[str, list[int]], CategoryProfile],
) -> CompressionPlan:
    """The same plan from a way to profile a category, which is asked where ratios are measured.

    Args:
        config: a run's configuration.
        groups: the categories.
        training_rows: rows that the codebooks are trained on.
        profile: (category, its columns) -> its profile.

    Raises:
        ConfigError, DataError: as :func:`precompute_compression_ratios`.
    """
    model = config.model
    counts = dict(zip(groups.names, groups.sizes, strict=True))
    dimensions: dict[str, Any] = {
        "feature_counts": counts,
        "codebook_sizing": model.codebook_sizing,
        "hierarchy": model.hierarchy,
        "num_levels": model.num_levels,
        "num_samples": training_rows,
        "level_overrides": _level_overrides(config),
    }
    if reuses_ratios(config):
        return plan_from_saved_ratios(
            strategy=model.compression_ratios_strategy or model.auto_compression_strategy,
            ratios=model.compression_ratios_computed or {},
            metrics=model.compression_ratios_metrics or {},
            **dimensions,
        )
    ratios = parse_compression_ratios(model.compression_ratios, model.auto_compression_strategy)
    profiles = None
    if isinstance(ratios, AutoRatios):
        profiles = {
            name: profile(name, list(columns))
            for name, columns in zip(groups.names, groups.columns, strict=True)
        }
    return build_plan(ratios=ratios, profiles=profiles, **dimensions)


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
    return _with_model(
        config,
        compression_ratios_strategy=plan.strategy,
        compression_ratios_computed=plan.computed_ratios(),
        compression_ratios_metrics=plan.metrics(),
    )


def _with_model(config: TrainConfig, **changes: Any) -> TrainConfig:
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def _level_overrides(config: TrainConfig) -> dict[str, list[dict[str, int]]] | None:
    if config.model.levels is None:
        return None
    return {
        name: [level.model_dump(exclude_none=True) for level in levels]
        for name, levels in config.model.levels.items()
    }
