"""Columns of 0 and 1 that say where values were missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.analysis.statistics import GramResult

SUFFIX = "@missing"

# Of the rows, both with and without the value: a rarer indicator is all tail once z-scored.
LEAST_SHARE = 0.01
NONE = -1


@dataclass(frozen=True, eq=False)
class MissingIndicators:
    """Which raw columns' missing values are told, and by which indicator.

    Attributes:
        columns: int64 [m], raw columns; indicator i is 1 where ``columns[i]`` is not finite.
        teller: int64 [D], for each raw column the indicator that tells its missing values: its
            own, or that of a column which is missing in the same rows; -1: none.
    """

    columns: NDArray[np.int64]
    teller: NDArray[np.int64]

    @classmethod
    def none(cls, num_features: int) -> "MissingIndicators":
        """No indicators."""
        return cls(np.zeros(0, dtype=np.int64), np.full(num_features, NONE, dtype=np.int64))

    @classmethod
    def fitted(
        cls, num_features: int, candidates: NDArray[np.int64], gram: GramResult, threshold: float
    ) -> "MissingIndicators":
        """Indicators of those candidates that are missing often enough, each pattern once.

        Args:
            num_features: D.
            candidates: int64 [c], raw columns, ascending.
            gram: of their masks, 1 where a value is missing.
            threshold: of two masks with \\|r\\| above it the earlier tells both.
        """
        share = gram.mean
        told = np.flatnonzero((share >= LEAST_SHARE) & (share <= 1.0 - LEAST_SHARE))
        teller = np.full(num_features, NONE, dtype=np.int64)
        kept: list[int] = []
        for candidate in told.tolist():
            # A mask that is the opposite of another cannot tell it by being above one half.
            alike = gram.correlation[candidate, kept] if kept else np.zeros(0)
            if alike.size and alike.max() > threshold:
                teller[candidates[candidate]] = int(alike.argmax())
            else:
                teller[candidates[candidate]] = len(kept)
                kept.append(candidate)
        return cls(candidates[kept], teller)

    def names(self, raw_names: tuple[str, ...]) -> list[str]:
        """``<column>@missing`` for each indicator."""
        return [raw_names[column] + SUFFIX for column in self.columns]

    def apply(self, block: NDArray[Any]) -> NDArray[np.float32]:
        """Raw rows [n, D] -> float32 [n, m]."""
        missing: NDArray[np.bool_] = ~np.isfinite(block[:, self.columns])
        return missing.astype(np.float32)

    def erase(self, raw: NDArray[np.float32], indicators: NDArray[np.float32]) -> None:
        """Writes NaN into raw rows [n, D] where an indicator [n, m] is above one half."""
        for column in np.flatnonzero(self.teller != NONE):
            raw[indicators[:, self.teller[column]] > 0.5, column] = np.nan

    def fits(self, num_features: int) -> bool:
        """Whether the parts agree and speak of ``num_features`` raw columns."""
        columns, teller = self.columns, self.teller
        return (
            columns.ndim == 1
            and teller.shape == (num_features,)
            and bool(((columns >= 0) & (columns < num_features)).all())
            and bool(((teller >= NONE) & (teller < len(columns))).all())
        )

    def to_state(self) -> dict[str, Any]:
        """Arrays that :meth:`from_state` takes."""
        return {"columns": self.columns.copy(), "teller": self.teller.copy()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "MissingIndicators":
        """The indicators that :meth:`to_state` described."""
        return cls(*(np.asarray(state[key], dtype=np.int64) for key in ("columns", "teller")))
