"""From raw feature columns to the model's input and back: what a checkpoint keeps of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.categories import CategoryGroups
from spinlock.data.column_cleaner import ColumnCleaner
from spinlock.data.column_normaliser import ColumnNormaliser
from spinlock.data.table import schema_fingerprint
from spinlock.errors import CheckpointError, DataError

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Preprocessing:
    """Cleaning, grouping by category and normalisation, fitted on training rows.

    Attributes:
        names: raw column names, ``family::name``, in the order that :meth:`transform` expects.
        families: the family of each raw column.
        cleaner: fitted on raw columns.
        groups: columns of the *cleaned* features per category.
        normaliser: fitted on cleaned columns grouped by category.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    cleaner: ColumnCleaner
    groups: CategoryGroups
    normaliser: ColumnNormaliser

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the raw column names in order: which tables this can transform."""
        return schema_fingerprint(self.names)

    @property
    def cleaned_names(self) -> tuple[str, ...]:
        """Columns that cleaning kept, in raw order."""
        return tuple(str(name) for name in self.cleaner.get_feature_names_out())

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns of the model's input, grouped by category."""
        cleaned = self.cleaned_names
        return tuple(cleaned[column] for column in self.groups.order)

    def transform(self, features: Matrix) -> Matrix:
        """Raw features ``[N, D]`` to the model's input ``[N, D_kept]``, float32, z-scored.

        Raises:
            DataError: another number of columns than the ``names`` it was fitted on.
        """
        self._check_width(features, len(self.names), "raw features")
        grouped = self.cleaner.transform(features)[:, self.groups.order]
        return np.ascontiguousarray(self.normaliser.transform(grouped), dtype=np.float32)

    def inverse_transform(self, x: Matrix) -> Matrix:
        """The model's units ``[N, D_kept]`` to raw units, columns as in ``feature_names``.

        Columns that cleaning dropped and values that it capped do not come back.
        """
        self._check_width(x, len(self.groups.order), "model features")
        return np.ascontiguousarray(self.normaliser.inverse_transform(x), dtype=np.float32)

    def restore(self, x: Matrix) -> Matrix:
        """The model's units ``[N, D_kept]`` to all raw columns ``[N, D]``, named by ``names``.

        What cleaning dropped comes back as
        :meth:`~spinlock.data.column_cleaner.ColumnCleaner.inverse_transform` says.
        """
        grouped = self.inverse_transform(x)
        cleaned = np.empty_like(grouped)
        cleaned[:, self.groups.order] = grouped
        return self.cleaner.inverse_transform(cleaned)

    def to_state(self) -> dict[str, Any]:
        """Nested dicts of plain values and arrays that :meth:`from_state` takes."""
        return {
            "schema": {
                "fingerprint": self.fingerprint,
                "names": list(self.names),
                "families": list(self.families),
                "feature_names": list(self.feature_names),
            },
            "cleaner": self.cleaner.to_state(),
            "categories": self.groups.to_dict(),
            "normaliser": self.normaliser.to_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing that :meth:`to_state` described.

        Raises:
            CheckpointError: its parts are not about the same columns.
        """
        found = cls(
            names=tuple(state["schema"]["names"]),
            families=tuple(state["schema"]["families"]),
            cleaner=ColumnCleaner.from_state(state["cleaner"]),
            groups=CategoryGroups.from_dict(state["categories"]),
            normaliser=ColumnNormaliser.from_state(state["normaliser"]),
        )
        cleaned, grouped = len(found.cleaned_names), len(found.groups.order)
        if not (
            found.fingerprint == state["schema"]["fingerprint"]
            and len(found.families) == len(found.names)
            and tuple(found.cleaner.feature_names_in_) == found.names
            and cleaned == grouped
            and tuple(found.normaliser.feature_names_in_) == found.feature_names
        ):
            raise CheckpointError(
                f"the saved preprocessing contradicts itself: {len(found.names)} raw columns, "
                f"{cleaned} cleaned and {grouped} grouped ones must have the same names in the "
                "schema, the cleaning, the categories and the normalisation; use another checkpoint"
            )
        return found

    @staticmethod
    def _check_width(matrix: Matrix, width: int, what: str) -> None:
        if matrix.ndim != 2 or matrix.shape[1] != width:
            raise DataError(
                f"{what} must be [N, {width}], got {list(matrix.shape)}: give the columns that "
                "the preprocessing was fitted on, in that order"
            )
