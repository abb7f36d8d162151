"""From a configuration to ``Prepared``: load, split, clean, categorise, plan, normalise."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from spinlock.data.categories import discover_categories
from spinlock.data.cleaning import FeatureCleaner
from spinlock.data.normalisation import Normaliser
from spinlock.data.readers import load_table
from spinlock.data.split import Rows, split_rows
from spinlock.data.table import FeatureTable
from spinlock.training.callbacks import Event, EventHandler
from spinlock.training.planning import (
    precompute_compression_ratios,
    resolved_config,
    reuses_ratios,
    without_computed_ratios,
)
from spinlock.training.prepared import Prepared
from spinlock.training.preprocessing import Preprocessing
from spinlock.training.wording import counted

if TYPE_CHECKING:
    from spinlock.config import TrainConfig


def ignore(event: Event) -> None:
    """An event handler that does nothing."""
    del event


def prepare(
    config: TrainConfig, *, on_event: EventHandler = ignore, recompute_ratios: bool = False
) -> Prepared:
    """Everything before a model: data, categories and plan, fitted on the training rows only.

    Args:
        config: a run's configuration.
        on_event: is told what each stage found.
        recompute_ratios: measure the ratios although the configuration carries computed ones.

    Raises:
        DataError: data that cannot be loaded, cleaned, grouped or profiled.
        ConfigError: ratios or levels for other categories than there are.
    """
    if recompute_ratios:
        config = without_computed_ratios(config)
    table = load(config, on_event)
    train_rows, validation_rows = split(config, table, on_event)
    train = table.take_rows(train_rows)
    cleaner = FeatureCleaner(seed=config.random_seed, **config.feature_cleaning.model_dump())
    cleaned = cleaner.fit(train).transform(train)
    names = tuple(str(name) for name in cleaner.get_feature_names_out())
    on_event(Event("cleaned", str(cleaner.report_), {"report": cleaner.report_}))
    settings = config.training
    groups = discover_categories(
        cleaned,
        names,
        tuple(table.families[column] for column in cleaner.kept_),
        assignment=settings.category_assignment,
        num_categories_auto=settings.num_categories_auto,
        max_clusters=settings.max_clusters,
        min_features_per_category=settings.min_features_per_category,
        isolated_families=tuple(settings.isolated_families),
        seed=config.random_seed,
    )
    sizes = dict(zip(groups.names, groups.sizes, strict=True))
    listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
    on_event(
        Event(
            "categories",
            f"{counted(len(sizes), 'category', 'categories')} (features): {listed}",
            sizes,
        )
    )
    reused = reuses_ratios(config)
    plan = precompute_compression_ratios(config, cleaned, groups)
    if reused:
        message = (
            "compression ratios are those that the configuration carries from an earlier run; "
            "--recompute-ratios measures them anew"
        )
        on_event(Event("ratios_reused", message))
    normaliser = Normaliser(config.normalization_method, seed=config.random_seed)
    normaliser.fit(cleaned[:, groups.order], names=[names[column] for column in groups.order])
    preprocessing = Preprocessing(table.names, table.families, cleaner, groups, normaliser)
    return Prepared(
        config=resolved_config(config, plan),
        preprocessing=preprocessing,
        plan=plan,
        train=preprocessing.transform(train.features),
        validation=preprocessing.transform(table.take_rows(validation_rows).features),
        cleaning_report=cleaner.report_,
        data_fingerprint=data_fingerprint(table),
        ratios_reused=reused,
    )


def load(config: TrainConfig, on_event: EventHandler) -> FeatureTable:
    """The data set that a configuration names."""
    table = load_table(
        config.dataset_path, config.families, config.max_samples, seed=config.random_seed
    )
    message = (
        f"{config.dataset_path}: {counted(table.num_rows, 'row')}, "
        f"{counted(table.num_features, 'feature')} in "
        f"{counted(len(table.family_names), 'family', 'families')}"
    )
    on_event(Event("loaded", message, {"rows": table.num_rows, "features": table.num_features}))
    return table


def split(config: TrainConfig, table: FeatureTable, on_event: EventHandler) -> tuple[Rows, Rows]:
    """Training and validation rows, by the published rule."""
    share = config.training.validation_split
    train, validation = split_rows(table.num_rows, share, config.random_seed)
    message = f"{counted(len(train), 'row')} to train on, {len(validation):,} held out"
    details = {"training": len(train), "validation": len(validation)}
    on_event(Event("split", message, details))
    return train, validation


def data_fingerprint(table: FeatureTable) -> str:
    """SHA-256 over a table's schema and values; labels do not count."""
    digest = hashlib.sha256(table.fingerprint.encode("ascii"))
    for block in table.blocks():
        digest.update(np.ascontiguousarray(block).view(np.uint8).data)
    return digest.hexdigest()
