"""Fitting cleaning, categories, ratios and normalisation on training rows: in memory or in passes.

Both ways use the same mergeable statistics.  In passes, memory does not grow with the rows: the
data set is read three times, once for the columns as they come, once for the columns repaired, and
once for the columns that stay, on the engine that is asked for: what is found is the same on each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from spinlock.analysis.plan import CompressionPlan
from spinlock.analysis.profile import profile_from_gram
from spinlock.analysis.statistics import (
    DEFAULT_CAPACITY,
    GramMatrix,
    Moments,
    MomentsResult,
    RowReservoir,
    RowSample,
    sample_ceiling,
)
from spinlock.config.category_file import read_category_file
from spinlock.data.categories import CategoryGroups, discover_categories
from spinlock.data.column_cleaner import ColumnCleaner
from spinlock.data.column_normaliser import ColumnNormaliser
from spinlock.data.parts import RowPart
from spinlock.data.table import FeatureTable
from spinlock.engine import IN_PROCESS, Engine, Mergeable, Tell, map_reduce
from spinlock.training.callbacks import Event, EventHandler, progress_event
from spinlock.training.planning import (
    TrainingStatistics,
    plan_from_statistics,
    precompute_compression_ratios,
)
from spinlock.training.preprocessing import Matrix, Preprocessing
from spinlock.training.wording import counted

if TYPE_CHECKING:
    from spinlock.config import TrainConfig

S = TypeVar("S", bound=Mergeable)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was learned from the training rows."""

    preprocessing: Preprocessing
    plan: CompressionPlan


def fit_in_memory(config: TrainConfig, train: FeatureTable, on_event: EventHandler) -> Fitted:
    """Fits on training rows in memory.

    Raises:
        DataError: data that cannot be cleaned, grouped or profiled.
        ConfigError: ratios or levels for other categories than there are.
    """
    cleaner = _cleaner(config).fit(train)
    on_event(Event("cleaned", str(cleaner.report_), {"report": cleaner.report_}))
    cleaned = cleaner.transform(train)
    groups = _groups(config, cleaned, cleaner, train.families, on_event)
    families = cleaner.families_out(train.families)
    plan = precompute_compression_ratios(config, cleaned, groups, families)
    normaliser = ColumnNormaliser(config.normalization_method, seed=config.random_seed)
    normaliser.fit(cleaned[:, groups.order], names=_grouped_names(cleaner, groups))
    return Fitted(Preprocessing(train.names, train.families, cleaner, groups, normaliser), plan)


def fit_in_passes(
    config: TrainConfig,
    parts: Sequence[RowPart],
    names: tuple[str, ...],
    families: tuple[str, ...],
    *,
    training_rows: int,
    on_event: EventHandler,
    engine: Engine = IN_PROCESS,
) -> Fitted:
    """Fits on parts of a data set that are read anew for every pass.

    Args:
        config: a run's configuration.
        parts: all rows ``[N, D]`` to fit on.
        names, families: of the D columns.
        training_rows: rows that the model will be trained on, for codebook sizes that follow it.
        on_event: is told what each pass found, and how far it is.
        engine: reads the parts.

    Raises:
        DataError, ConfigError: as :func:`fit_in_memory`.
    """
    num_rows = sum(part.num_rows for part in parts)
    ceiling = sample_ceiling(num_rows, DEFAULT_CAPACITY, config.random_seed)
    cleaner = _cleaner(config)

    def clean(make_state: Callable[[], S]) -> S:
        told = _told("cleaning", num_rows, on_event)
        return map_reduce(engine, parts, make_state, tell=told)

    cleaner.fit_passes(clean, names, ceiling=ceiling)
    on_event(Event("cleaned", str(cleaner.report_), {"report": cleaner.report_}))
    told = _told("measuring features", num_rows, on_event)
    make = partial(_CleanedColumnsPass, config.random_seed, ceiling)
    passed = map_reduce(engine, parts, make, cleaner.transform, told)
    sample, measured = passed.reservoir.finalise(), passed.gram.finalise()
    groups = _groups(config, sample, cleaner, families, on_event)
    normaliser = ColumnNormaliser(config.normalization_method, seed=config.random_seed)
    grouped = replace(sample, rows=sample.rows[:, groups.order])
    normaliser.fit_statistics(
        _reordered(passed.moments.finalise(), groups.order),
        grouped,
        _grouped_names(cleaner, groups),
    )
    statistics = TrainingStatistics(
        num_rows=training_rows,
        profile=lambda name, columns, *, scale_free: profile_from_gram(
            name, measured, columns, scale_free=scale_free
        ),
        normalised=lambda: normaliser.transform(grouped.rows),
        families=cleaner.families_out(families),
    )
    plan = plan_from_statistics(config, groups, statistics)
    return Fitted(Preprocessing(names, families, cleaner, groups, normaliser), plan)


class _CleanedColumnsPass:
    """Third pass: the columns that cleaning keeps, with their covariances and a row sample."""

    def __init__(self, seed: int, ceiling: int | None) -> None:
        self.moments, self.gram = Moments(), GramMatrix()
        self.reservoir = RowReservoir(DEFAULT_CAPACITY, seed, ceiling)

    def update(self, block: Any, first_row: int) -> Self:
        """Add cleaned rows."""
        self.reservoir.update(block, first_row)
        self.moments.update(block)
        self.gram.update(block)
        return self

    def merge(self, other: _CleanedColumnsPass) -> Self:
        """Add what ``other`` has seen."""
        self.reservoir.merge(other.reservoir)
        self.moments.merge(other.moments)
        self.gram.merge(other.gram)
        return self


def _told(task: str, num_rows: int, on_event: EventHandler) -> Tell:
    done = 0

    def tell(rows: int) -> None:
        nonlocal done
        done += rows
        on_event(progress_event(task, done, num_rows))

    return tell


def _cleaner(config: TrainConfig) -> ColumnCleaner:
    return ColumnCleaner(seed=config.random_seed, **config.feature_cleaning.model_dump())


def _groups(
    config: TrainConfig,
    cleaned: Matrix | RowSample,
    cleaner: ColumnCleaner,
    families: tuple[str, ...],
    on_event: EventHandler,
) -> CategoryGroups:
    settings = config.training
    mapping = None
    if settings.category_file is not None:
        mapping = read_category_file(settings.category_file)
    groups = discover_categories(
        cleaned,
        tuple(str(name) for name in cleaner.get_feature_names_out()),
        cleaner.families_out(families),
        assignment=settings.category_assignment,
        mapping=mapping,
        dropped={feature.name: feature.reason for feature in cleaner.report_.dropped},
        num_categories_auto=settings.num_categories_auto,
        max_clusters=settings.max_clusters,
        min_features_per_category=settings.min_features_per_category,
        isolated_families=tuple(settings.isolated_families),
        seed=config.random_seed,
    )
    sizes = dict(zip(groups.names, groups.sizes, strict=True))
    listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
    found = counted(len(sizes), "category", "categories")
    on_event(Event("categories", f"{found} (features): {listed}", sizes))
    return groups


def _grouped_names(cleaner: ColumnCleaner, groups: CategoryGroups) -> list[str]:
    names = cleaner.get_feature_names_out()
    return [str(names[column]) for column in groups.order]


def _reordered(moments: MomentsResult, order: tuple[int, ...]) -> MomentsResult:
    columns = list(order)
    return MomentsResult(
        num_rows=moments.num_rows,
        count=moments.count[columns],
        non_finite=moments.non_finite[columns],
        mean=moments.mean[columns],
        variance=moments.variance[columns],
        minimum=moments.minimum[columns],
        maximum=moments.maximum[columns],
    )
