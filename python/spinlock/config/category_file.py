"""The file that ``training.category_file`` names: categories as a person has chosen them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spinlock.config.loading import read_file
from spinlock.config.paths import expand_user
from spinlock.config.reading import read_yaml
from spinlock.config.wording import shown
from spinlock.errors import ConfigError

_KEY = "training.category_file"


def read_category_file(path: str) -> dict[str, list[str]]:
    """Category -> names and globs of its columns, from a YAML or JSON file.

    Raises:
        ConfigError: a file that cannot be read, or that holds something else.
    """
    file = Path(expand_user(path, _KEY))
    source = f"{_KEY} '{file}'"
    tree = read_yaml(read_file(file, _KEY), source)
    expected = "expected {category: [column, ...]}, columns as names or globs"
    if not isinstance(tree, Mapping) or not tree:
        raise ConfigError(f"{source}: {expected}, got {shown(tree)}")
    mapping: dict[str, list[str]] = {}
    for category, entries in tree.items():
        columns = [entries] if isinstance(entries, str) else entries
        text = isinstance(columns, list) and all(isinstance(c, str) and c for c in columns)
        if not category or not str(category).isprintable():
            raise ConfigError(
                f"{source}: expected names of categories as text that can be printed, got "
                f"{category!r}; give that category a name"
            )
        if not text or not columns:
            raise ConfigError(f"{source}: {expected}, got {shown(entries)} for {category!r}")
        mapping[str(category)] = list(columns)
    return mapping
