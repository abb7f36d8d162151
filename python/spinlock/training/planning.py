"""The step that turns ``compression_ratios`` of any form into a plan with every dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spinlock.analysis.allocation_record import RATE_DISTORTION, BitAllocation
from spinlock.analysis.bit_allocation import allocate_bits
from spinlock.analysis.budget_curve import BudgetCurve, budget_curve
from spinlock.analysis.category_curves import FEWEST_ROWS, measure_curves
from spinlock.analysis.plan import CompressionPlan, build_plan, plan_from_saved_ratios
from spinlock.analysis.profile import CategoryProfile, profile_category
from spinlock.analysis.ratios import AutoRatios, UniformRatios, parse_compression_ratios
from spinlock.analysis.strategies import PUBLISHED_LEVELS, spread_over_levels
from spinlock.analysis.strategy_choice import (
    PerFamilyStrategies,
    StrategyChoice,
    category_strategy,
    parse_strategy,
    reads_scale_free,
)
from spinlock.data.column_normaliser import ColumnNormaliser
from spinlock.errors import ConfigError
from spinlock.training.callbacks import Event
from spinlock.training.preprocessing import Matrix
from spinlock.training.wording import counted

if TYPE_CHECKING:
    from spinlock.config import TrainConfig
    from spinlock.data.categories import CategoryGroups
    from spinlock.training.prepared import Prepared

UNIFORM_DEFAULT = (0.5, 1.0, 1.5)
# Of the keys that a plan is made from.
_SECTION = "model."


class Profiler(Protocol):
    """Scores the columns of a category."""

    def __call__(self, name: str, columns: list[int], *, scale_free: bool) -> CategoryProfile:
        """The profile of cleaned, un-normalised columns."""


@dataclass(frozen=True)
class TrainingStatistics:
    """What a plan may ask about the training rows.

    Attributes:
        num_rows: rows that the codebooks are trained on.
        profile: profiles a category.
        normalised: gives rows ``[n, D]`` as the model will see them, columns in the order of the
            categories; all training rows, or a uniform sample of them.
        families: the family of each cleaned column, where strategies are given per family.
    """

    num_rows: int
    profile: Profiler
    normalised: Callable[[], Matrix]
    families: Sequence[str] = ()


def precompute_compression_ratios(
    config: TrainConfig,
    cleaned: Matrix,
    groups: CategoryGroups,
    families: Sequence[str] = (),
) -> CompressionPlan:
    """Ratios, latent dims and codebook sizes per category, for the training rows.

    ``compression_ratios: auto`` measures each category with the configured strategy, or takes
    ``compression_ratios_computed`` where the configuration carries them; see :func:`reuses_ratios`.

    Args:
        config: a run's configuration.
        cleaned: ``[N, D_kept]`` training rows, cleaned but *not* normalised: normalising would
            make every variance 1.
        groups: columns of ``cleaned`` per category.
        families: of the columns of ``cleaned``; read by strategies per family.

    Raises:
        ConfigError: computed, given or overridden ratios and levels of other categories.
        DataError: features that have no profile.
    """

    def profile(name: str, columns: list[int], *, scale_free: bool) -> CategoryProfile:
        return profile_category(name, cleaned[:, columns], scale_free=scale_free)

    def normalised() -> Matrix:
        normaliser = ColumnNormaliser(config.normalization_method, seed=config.random_seed)
        grouped = cleaned[:, groups.order]
        return normaliser.fit(grouped).transform(grouped)

    statistics = TrainingStatistics(len(cleaned), profile, normalised, families)
    return plan_from_statistics(config, groups, statistics)


def plan_from_statistics(
    config: TrainConfig, groups: CategoryGroups, statistics: TrainingStatistics
) -> CompressionPlan:
    """The same plan from statistics, which are asked for where something is to be measured.

    Raises:
        ConfigError, DataError: as :func:`precompute_compression_ratios`.
    """
    model = config.model
    dimensions: dict[str, Any] = {
        "feature_counts": dict(zip(groups.names, groups.sizes, strict=True)),
        "codebook_sizing": model.codebook_sizing,
        "hierarchy": model.hierarchy,
        "num_levels": model.num_levels,
        "num_samples": statistics.num_rows,
        "level_overrides": _level_overrides(config),
        "section": _SECTION,
    }
    if reuses_ratios(config):
        saved = model.compression_ratios_allocation
        return plan_from_saved_ratios(
            strategy=str(parse_strategy(_computing_strategy(config))),
            ratios=model.compression_ratios_computed or {},
            metrics=model.compression_ratios_metrics or {},
            allocation=None if saved is None else BitAllocation.from_dict(saved),
            **dimensions,
        )
    ratios = parse_compression_ratios(model.compression_ratios, model.auto_compression_strategy)
    if not isinstance(ratios, AutoRatios):
        return build_plan(ratios=ratios, **dimensions)
    families = _category_families(ratios.strategy, groups, statistics.families)
    profiles = {
        name: statistics.profile(
            name,
            list(columns),
            scale_free=reads_scale_free(category_strategy(ratios.strategy, families[name])),
        )
        for name, columns in zip(groups.names, groups.columns, strict=True)
    }
    allocation = None
    if ratios.strategy == RATE_DISTORTION:
        allocation = _allocate(config, groups, statistics, dimensions)
    return build_plan(
        ratios=ratios,
        profiles=profiles,
        category_families=families,
        allocation=allocation,
        **dimensions,
    )


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
        compression_ratios_allocation=None,
    )


def resolved_config(config: TrainConfig, plan: CompressionPlan) -> TrainConfig:
    """The configuration that a checkpoint keeps: what ``auto`` computed is written into it."""
    if plan.source != "auto":
        return config
    return _with_model(
        config,
        compression_ratios_strategy=_computing_strategy(config),
        compression_ratios_computed=plan.computed_ratios(),
        compression_ratios_metrics=plan.metrics(),
        compression_ratios_allocation=None
        if plan.allocation is None
        else plan.allocation.to_dict(),
    )


def budget_curve_of(prepared: Prepared) -> BudgetCurve:
    """What more or fewer bits would buy, measured on a prepared run's training rows.

    With the levels, limits and exponent of its configuration, whatever its strategy.

    Raises:
        DataError: fewer than two training rows.
    """
    options = prepared.config.model.rate_distortion.options()
    curves = measure_curves(
        _by_category(prepared.preprocessing.groups, prepared.train),
        num_levels=prepared.plan.num_levels,
        level_split=options.level_split,
        max_codes=options.max_codes,
        seed=prepared.config.random_seed,
        every_size=True,
    )
    return budget_curve(curves, options.alpha, prepared.plan.bits)


def allocation_event(allocation: BitAllocation) -> Event:
    """What a run says of its bits: where they went, or that nothing could be measured."""
    details = {"bits": allocation.bits, "budget": allocation.budget, "rows": allocation.rows}
    measured = counted(allocation.rows, "row")
    if allocation.method == "gaussian":
        message = (
            f"{measured} are too few to measure what bits are worth (that takes {FEWEST_ROWS}): "
            "rate_distortion allocates by the Gaussian reference, which knows only the spectra"
        )
        return Event("gaussian_allocation", message, details)
    message = (
        f"{allocation.bits:.1f} bits per row allocated by curves measured on {measured}; "
        f"predicted mean error {allocation.mean_mse:.3g}"
    )
    return Event("bits_allocated", message, details)


def _computing_strategy(config: TrainConfig) -> Any:
    model = config.model
    return model.compression_ratios_strategy or model.auto_compression_strategy


def _allocate(
    config: TrainConfig,
    groups: CategoryGroups,
    statistics: TrainingStatistics,
    dimensions: dict[str, Any],
) -> BitAllocation:
    levels = config.model.levels or {}
    stated = next((len(entries) for entries in levels.values()), PUBLISHED_LEVELS)
    num_levels = config.model.num_levels or stated
    uniform = build_plan(
        ratios=UniformRatios(spread_over_levels(UNIFORM_DEFAULT, num_levels)), **dimensions
    )
    return allocate_bits(
        _by_category(groups, statistics.normalised()),
        default_bits=uniform.bits,
        options=config.model.rate_distortion.options(),
        num_levels=num_levels,
        given=_given_sizes(config),
        training_rows=statistics.num_rows,
        seed=config.random_seed,
        section=_SECTION,
    )


def _by_category(groups: CategoryGroups, rows: Matrix) -> dict[str, Matrix]:
    """Views of rows ``[n, D]`` whose columns are in the order of the categories."""
    stops = np.cumsum(groups.sizes)
    return {
        name: rows[:, stop - size : stop]
        for name, size, stop in zip(groups.names, groups.sizes, stops, strict=True)
    }


def _given_sizes(config: TrainConfig) -> dict[str, tuple[int, ...]]:
    """Codebook sizes that the configuration gives for all levels of a category."""
    given = {}
    for name, levels in (config.model.levels or {}).items():
        sizes = [level.num_tokens for level in levels if level.num_tokens is not None]
        if sizes and len(sizes) < len(levels):
            raise ConfigError(
                f"model.levels.{name} gives num_tokens for {len(sizes)} of {len(levels)} levels, "
                f"but {RATE_DISTORTION!r} decides a category's codebook sizes together: give all "
                "of them or none"
            )
        if sizes:
            given[name] = tuple(sizes)
    return given


def _category_families(
    choice: StrategyChoice, groups: CategoryGroups, families: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The families of each category's columns; none where strategies do not ask for them."""
    if not isinstance(choice, PerFamilyStrategies):
        return dict.fromkeys(groups.names, ())
    known = list(dict.fromkeys(families))
    unknown = [family for family, _ in choice.families if family not in known]
    if unknown:
        raise ConfigError(
            f"model.auto_compression_strategy names {', '.join(unknown)}, but the families of the "
            f"cleaned features are {', '.join(known)}: name some of these, or L0, L1, ... for one "
            "strategy per level"
        )
    return {
        name: tuple(dict.fromkeys(families[column] for column in columns))
        for name, columns in zip(groups.names, groups.columns, strict=True)
    }


def _with_model(config: TrainConfig, **changes: Any) -> TrainConfig:
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


def _level_overrides(config: TrainConfig) -> dict[str, list[dict[str, int]]] | None:
    if config.model.levels is None:
        return None
    return {
        name: [level.model_dump(exclude_none=True) for level in levels]
        for name, levels in config.model.levels.items()
    }
