"""An estimator's run: its configuration from parameters, and the model that comes of it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from sklearn.utils import check_random_state

from spinlock.config.parameters import MEMORY, PARAMETERS, Base, config_from_parameters
from spinlock.config.plain import plain
from spinlock.config.root import TrainConfig
from spinlock.data.frames import FAMILY
from spinlock.data.table import SEPARATOR, FeatureTable
from spinlock.errors import ConfigError
from spinlock.estimator.columns import arrays_inside
from spinlock.training.callbacks import Callback
from spinlock.training.interrupts import stopping
from spinlock.training.saved import SavedModel

_DRAWN_SEEDS = 2**31 - 1
_REST = "*"


def trained_on(
    table: FeatureTable, base: Base, parameters: Mapping[str, Any], callbacks: Sequence[Callback]
) -> SavedModel:
    """Trains on rows in memory; the model is on the CPU.

    Args:
        table: the rows.
        base, parameters: as in :func:`run_config`.
        callbacks: hear of the run.

    Raises:
        ConfigError, DataError: as :func:`~spinlock.training.pipeline.train`.
        KeyboardInterrupt: a signal ended the run.
    """
    from spinlock.training.pipeline import train

    with tempfile.TemporaryDirectory(prefix="spinlock-") as temporary, arrays_inside():
        folder = Path(temporary)
        config = run_config(base, parameters, folder, table.names)
        result = train(
            saved_once(config, folder), table=table, recompute_ratios=True, callbacks=callbacks
        )
    if result.interrupted:
        raise stopping(result.signal_name)
    prepared = result.prepared
    return SavedModel(
        path=None,
        config=lasting(prepared.config, config, folder),
        preprocessing=prepared.preprocessing,
        plan=prepared.plan,
        model=result.model.cpu(),
        metrics=result.metrics,
        history=result.history,
        data_fingerprint=prepared.data_fingerprint,
        rows={"training": len(prepared.train), "validation": len(prepared.validation)},
    )


def run_config(
    base: Base, parameters: Mapping[str, Any], folder: Path, columns: Sequence[str]
) -> TrainConfig:
    """The configuration that parameters stand for, on rows in memory.

    Args:
        base: the keys that no parameter sets.
        parameters: the estimator's.
        folder: for checkpoints that nobody asked for, and for categories given as a mapping.
        columns: ``family::name`` of the rows' columns.

    Raises:
        ConfigError: everything that is wrong.
    """
    found = {name: plain(parameters[name]) for name in PARAMETERS}
    if not isinstance(found["random_state"], Integral | None):
        source = check_random_state(found["random_state"])
        found["random_state"] = int(source.randint(_DRAWN_SEEDS))
    if found["checkpoint_dir"] is None:
        found["checkpoint_dir"] = folder / "run"
    file = None
    if isinstance(found["category_assignment"], Mapping):
        mapping = qualified_categories(found.pop("category_assignment"), columns)
        file = folder / "categories.json"
        file.write_text(json.dumps(mapping), encoding="utf-8")
    if isinstance(base, Mapping):
        base = plain(base)
    return config_from_parameters(base, found, file)


def saved_once(config: TrainConfig, folder: Path) -> TrainConfig:
    """The same run; checkpoints that nobody will see are written at its end only."""
    training = config.training
    if not Path(training.checkpoint_dir).is_relative_to(folder):
        return config
    return _with_training(config, checkpoint_every_n_epochs=training.num_epochs)


def lasting(config: TrainConfig, asked: TrainConfig, folder: Path) -> TrainConfig:
    """A run's resolved configuration as it was asked for, without a folder that is gone."""
    changes: dict[str, Any] = {
        "checkpoint_every_n_epochs": asked.training.checkpoint_every_n_epochs
    }
    training = config.training
    if Path(training.checkpoint_dir).is_relative_to(folder):
        changes["checkpoint_dir"] = type(training)().checkpoint_dir
    if training.category_file is not None and Path(training.category_file).is_relative_to(folder):
        changes["category_file"] = MEMORY
    return _with_training(config, **changes)


def _with_training(config: TrainConfig, **changes: Any) -> TrainConfig:
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def qualified_categories(
    categories: Mapping[Any, Any], columns: Sequence[str]
) -> dict[str, list[str]]:
    """Category -> ``family::name`` or globs of its columns, from names as the user has them.

    Raises:
        ConfigError: entries that are neither names nor positions.

    >>> columns = ["features::age", "shape::area", "shape::width"]
    >>> qualified_categories({"person": ["age"], "size": ["shape::*"]}, columns)
    {'person': ['features::age'], 'size': ['shape::*']}
    >>> qualified_categories({"first": [0], "rest": ["*"]}, columns)
    {'first': ['features::age'], 'rest': ['*']}
    """
    unnamed = {f"x{index}": name for index, name in enumerate(columns)}
    numbered = all(name == f"{FAMILY}{SEPARATOR}{i}" for i, name in enumerate(columns))

    def qualified(entry: Any) -> str:
        if isinstance(entry, Integral):
            position = int(entry)
            if not 0 <= position < len(columns):
                raise ConfigError(
                    f"category_assignment names column {position}; there are {len(columns)}, "
                    "counted from 0"
                )
            return columns[position]
        if not isinstance(entry, str):
            raise ConfigError(
                f"category_assignment: expected {{category: [column, ...]}} with names, globs or "
                f"positions of columns, got {entry!r}"
            )
        if numbered and entry in unnamed:
            return unnamed[entry]
        return entry if SEPARATOR in entry or entry == _REST else f"{FAMILY}{SEPARATOR}{entry}"

    found = {}
    for category, entries in categories.items():
        single = isinstance(entries, str) or not isinstance(entries, Iterable)
        found[str(category)] = [qualified(e) for e in ([entries] if single else entries)]
    return found
