"""The data sets that need no file: ``builtin:digits`` and ``builtin:seed_shape``."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.selection import Selection
from spinlock.data.sources import Contents, FamilySource, MemoryArray
from spinlock.data.table import FeatureTable, listed
from spinlock.errors import DataConfigError, DataError

PREFIX = "builtin:"

# Name -> (module, function without arguments that returns the table).
BUILTINS = {
    "digits": ("spinlock.data.digits", "digits_table"),
    "seed_shape": ("spinlock.data.seed_shape", "seed_shape_table"),
}


@dataclass(frozen=True, eq=False)
class TableContents:
    """A table in memory as ``Contents``."""

    where: str
    table: FeatureTable
    array: MemoryArray

    def family_names(self) -> tuple[str, ...]:
        """The table's families."""
        return self.table.family_names

    def family(self, name: str) -> FamilySource | None:
        """The table's columns of that family."""
        columns = [i for i, family in enumerate(self.table.families) if family == name]
        if not columns:
            return None
        names = tuple(self.table.names[i] for i in columns)
        return FamilySource(self.array, np.asarray(columns, dtype=np.int64), names)

    def at(self, path: str, family: str) -> FamilySource:
        """Built-in sets have no paths inside."""
        raise DataError(
            f"families.{family}.path is {path!r}, but {self.where} has no paths inside; leave the "
            f"path out and choose among its families: {listed(self.family_names())}."
        )

    def labels(self) -> NDArray[Any] | None:
        """The table's labels."""
        return self.table.labels


@contextmanager
def open_builtin(dataset_path: str, selection: Selection) -> Iterator[Contents]:
    """``builtin:<name>`` as ``Contents``; DataError lists the known names."""
    if selection.label is not None and selection.required:
        raise DataConfigError(
            f"label_column is {selection.label!r}, but {dataset_path} brings its own labels, if "
            "any; leave it out."
        )
    name = dataset_path.removeprefix(PREFIX)
    if name not in BUILTINS:
        known = ", ".join(PREFIX + builtin for builtin in BUILTINS)
        raise DataError(f"there is no built-in data set {dataset_path!r}; known: {known}.")
    module, function = BUILTINS[name]
    table: FeatureTable = getattr(importlib.import_module(module), function)()
    yield TableContents(dataset_path, table, MemoryArray(dataset_path, table.features))
