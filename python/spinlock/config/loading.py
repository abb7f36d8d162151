"""A configuration from a file, from text or from plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spinlock.config.overrides import Overrides, apply_overrides, pairs_of
from spinlock.config.paths import expand_user
from spinlock.config.problems import validate
from spinlock.config.reading import MAX_BYTES, read_yaml
from spinlock.config.root import TrainConfig
from spinlock.config.wording import shown
from spinlock.errors import ConfigError


def load_config(path: str | os.PathLike[str], overrides: Overrides = ()) -> TrainConfig:
    """Reads a YAML file.

    A leading ``~`` is the home directory.  A relative ``dataset_path`` or ``checkpoint_dir`` in it
    is relative to the working directory, not to the file.

    Args:
        path: the file.
        overrides: (dotted path, value) pairs, or a mapping of them, set over what the file says;
            of the same key the last one counts.

    Raises:
        ConfigError: a file that cannot be read, or everything that is wrong in it.
    """
    file = Path(expand_user(os.fspath(path), "the configuration file"))
    pairs = pairs_of(overrides)
    source = f"'{file}'"
    tree = _sections(read_file(file), source)
    return make_config(tree, source + (" with the keys given beside it" if pairs else ""), pairs)


def parse_config(
    text: str | bytes, source: str = "the configuration", overrides: Overrides = ()
) -> TrainConfig:
    """The configuration in YAML text; ``source`` is how messages call it.

    Raises:
        ConfigError: no YAML, or everything that is wrong in it.

    >>> parse_config("dataset_path: builtin:digits", overrides={"training.num_epochs": 3}).training
    TrainingConfig(num_epochs=3, batch_size=512, ...)
    """
    return make_config(_sections(text, source), source, overrides)


def _sections(text: str | bytes, source: str) -> dict[str, Any]:
    tree = read_yaml(text, source)
    if tree is None:
        raise ConfigError(f"{source}: is empty; at least dataset_path is needed")
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{source}: expected keys and values such as 'dataset_path: builtin:digits', got "
            f"{shown(tree)}"
        )
    return tree


def make_config(
    tree: Mapping[str, Any], source: str = "the configuration", overrides: Overrides = ()
) -> TrainConfig:
    """The configuration in nested mappings, as Python code may build them.

    Raises:
        ConfigError: everything that is wrong in it.

    >>> make_config({"dataset_path": "x.npz", "model": {"decay": 0.99}}).model.decay
    0.99
    """
    resolved, problems = apply_overrides(tree, overrides)
    return validate(resolved, source, problems)


def read_file(path: Path, key: str | None = None) -> bytes:
    """The bytes of a file, of which ``key`` names another one than the configuration.

    Raises:
        ConfigError: it cannot be read.
    """
    what = "the configuration file" if key is None else f"the file of {key}"
    try:
        with path.open("rb") as file:
            # One byte more than is allowed, so that endless files end here as well.
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        where = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        if key is not None:
            raise ConfigError(
                f"{key}: there is no file '{path}'{where}; correct the path, or write that file"
            ) from error
        raise ConfigError(f"there is no configuration file '{path}'{where}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {what} '{path}': {reason}") from error
