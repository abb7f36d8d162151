"""From a configuration to ``Prepared``: load, split, clean, categorise, plan, normalise."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from spinlock.data.dataset import Dataset
from spinlock.data.opening import MEMORY
from spinlock.data.parts import parts_without
from spinlock.data.readers import read_table
from spinlock.data.sampling import sample_rows
from spinlock.data.split import Rows, split_rows
from spinlock.data.table import FeatureTable
from spinlock.engine import IN_PROCESS, Engine
from spinlock.training.callbacks import Event, EventHandler, progress_event
from spinlock.training.fitting import fit_in_memory, fit_in_passes
from spinlock.training.planning import (
    allocation_event,
    resolved_config,
    reuses_ratios,
    without_computed_ratios,
)
from spinlock.training.prepared import Prepared
from spinlock.training.source import open_source, source_text
from spinlock.training.wording import counted

if TYPE_CHECKING:
    from spinlock.config import TrainConfig


def ignore(event: Event) -> None:
    """An event handler that does nothing."""
    del event


def prepare(
    config: TrainConfig,
    *,
    table: FeatureTable | None = None,
    on_event: EventHandler = ignore,
    recompute_ratios: bool = False,
    engine: Engine = IN_PROCESS,
) -> Prepared:
    """Everything before a model: data, categories and plan, fitted without the held-out rows.

    Args:
        config: a run's configuration.
        table: data in memory, used instead of ``config.dataset_path``, which becomes ``memory:``.
        on_event: is told what each stage found.
        recompute_ratios: measure the ratios although the configuration carries computed ones.
        engine: reads the data set, and fits on it where ``fit_rows`` is ``all``; the result is the
            same on every engine.

    Raises:
        DataError: data that cannot be loaded, cleaned, grouped or profiled.
        ConfigError: ratios or levels for other categories than there are.
    """
    if recompute_ratios:
        config = without_computed_ratios(config)
    config = about(config, table)
    with open_source(config, table) as source:
        sample = load(config, source, on_event, engine)
        train_rows, validation_rows = split(config, sample, on_event)
        if config.fit_rows == "all" and sample.num_rows < source.num_rows:
            numbers = sample_rows(source.num_rows, sample.num_rows, config.random_seed)
            held_out = np.sort(numbers[validation_rows])
            rows = source.num_rows - len(held_out)
            message = f"fitting on {counted(rows, 'row')}: all but the held-out ones"
            on_event(Event("fit_rows", message, {"rows": rows}))
            fitted = fit_in_passes(
                config,
                parts_without(source.parts(), held_out),
                source.names,
                source.families,
                training_rows=len(train_rows),
                on_event=on_event,
                engine=engine,
            )
        else:
            fitted = fit_in_memory(config, sample.take_rows(train_rows), on_event)
    reused = reuses_ratios(config)
    if reused:
        message = (
            "compression ratios are those that the configuration carries from an earlier run; "
            "--recompute-ratios measures them anew"
        )
        on_event(Event("ratios_reused", message))
    elif fitted.plan.allocation is not None:
        on_event(allocation_event(fitted.plan.allocation))
    preprocessing = fitted.preprocessing
    return Prepared(
        config=resolved_config(config, fitted.plan),
        preprocessing=preprocessing,
        plan=fitted.plan,
        train=preprocessing.transform(sample.features[train_rows]),
        validation=preprocessing.transform(sample.features[validation_rows]),
        cleaning_report=preprocessing.cleaner.report_,
        data_fingerprint=data_fingerprint(sample),
        ratios_reused=reused,
    )


def about(config: TrainConfig, table: FeatureTable | None) -> TrainConfig:
    """The configuration as a checkpoint keeps it: data in memory have no path."""
    if table is None:
        return config
    return config.model_copy(update={"dataset_path": MEMORY})


def load(
    config: TrainConfig, source: Dataset, on_event: EventHandler, engine: Engine = IN_PROCESS
) -> FeatureTable:
    """The rows of a data set that a run keeps in memory: all, or a sample of ``max_samples``."""
    table = read_table(
        source,
        config.max_samples,
        config.random_seed,
        on_progress=lambda done, total: on_event(progress_event("reading", done, total)),
        engine=engine,
    )
    whole = source.num_rows
    rows = counted(table.num_rows, "row")
    message = (
        f"{source_text(config)}: {rows if table.num_rows == whole else f'{rows} of {whole:,}'}, "
        f"{counted(table.num_features, 'feature')} in "
        f"{counted(len(table.family_names), 'family', 'families')}"
    )
    details = {"rows": table.num_rows, "features": table.num_features, "rows_in_all": whole}
    on_event(Event("loaded", message, details))
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
