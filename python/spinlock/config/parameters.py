"""A configuration from the flat parameters of an estimator, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spinlock.config.loading import load_config, make_config
from spinlock.config.model import SAVED_KEYS
from spinlock.config.root import TrainConfig
from spinlock.errors import ConfigError

# The data set of a run whose rows are in memory.
MEMORY = "memory:"

# Parameter -> the key that it sets.
PARAMETERS = {
    "compression_ratios": "model.compression_ratios",
    "strategy": "model.auto_compression_strategy",
    "num_levels": "model.num_levels",
    "hierarchy": "model.hierarchy",
    "num_epochs": "training.num_epochs",
    "batch_size": "training.batch_size",
    "learning_rate": "training.learning_rate",
    "validation_split": "training.validation_split",
    "early_stopping_patience": "training.early_stopping_patience",
    "category_assignment": "training.category_assignment",
    "num_categories": "training.num_categories_auto",
    "isolated_families": "training.isolated_families",
    "outlier_method": "feature_cleaning.outlier_method",
    "missing_indicators": "feature_cleaning.missing_indicators",
    "normalization_method": "normalization_method",
    "random_state": "random_seed",
    "device": "device",
    "num_threads": "training.num_threads",
    "checkpoint_dir": "training.checkpoint_dir",
}

_FILE = "training.category_file"

Base = TrainConfig | Mapping[str, Any] | str | os.PathLike[str] | None


def config_from_parameters(
    base: Base, parameters: Mapping[str, Any], category_file: Path | None = None
) -> TrainConfig:
    """The configuration of a run on rows in memory.

    Ratios that an earlier run computed are left out of ``base``: they are for other rows.

    Args:
        base: keys that no parameter sets: a configuration, nested mappings, the path of a YAML
            file, or None.
        parameters: by the names in ``PARAMETERS``; None leaves what ``base`` or the default says.

        category_file: of categories that were given by hand; with it they are ``manual``.

    Raises:
        ConfigError: everything that is wrong.

    >>> config_from_parameters({"model": {"decay": 0.9}}, {"num_epochs": 3}).training.num_epochs
    3
    """
    overrides: list[tuple[str, Any]] = [("dataset_path", MEMORY)]
    overrides += [(f"model.{key}", None) for key in SAVED_KEYS]
    overrides += [(PARAMETERS[name], v) for name, v in parameters.items() if v is not None]
    if category_file is not None:
        overrides += [(PARAMETERS["category_assignment"], "manual"), (_FILE, category_file)]
    elif parameters.get("category_assignment") not in (None, "manual"):
        overrides += [(_FILE, None)]  # one that base names is for manual categories
    source = "the parameters of the estimator"
    if isinstance(base, str | os.PathLike):
        return load_config(Path(base), overrides)
    if isinstance(base, TrainConfig):
        return make_config(base.model_dump(), source, overrides)
    if base is not None and not isinstance(base, Mapping):
        raise ConfigError(
            f"config: expected a TrainConfig, a mapping of keys or the path of a YAML file, got "
            f"{type(base).__name__}"
        )
    return make_config(base or {}, source, overrides)


def parameters_from_config(config: TrainConfig) -> dict[str, Any]:
    """The value of each parameter in a configuration; ``config_from_parameters`` takes it back.

    >>> parameters_from_config(config_from_parameters(None, {"batch_size": 64}))["batch_size"]
    64
    """
    tree = config.model_dump()
    found = {}
    for name, key in PARAMETERS.items():
        section, _, last = key.rpartition(".")
        found[name] = (tree[section] if section else tree)[last]
    return found
