"""The way back from cleaned columns to all raw ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.cleaning_passes import RepairedColumns
from spinlock.data.column_repair import ColumnRepair

NONE = -1


@dataclass(frozen=True, eq=False)
class ColumnRestoration:
    """Each raw column from at most one kept column: ``slope * kept[source] + intercept``.

    Attributes:
        source: int64 [D], a position among the k kept columns; -1 where there is none, and the
            column is ``intercept`` throughout.
        slope, intercept: float64 [D]; 1 and 0 for the kept columns themselves.
        known: bool [D], False where the column's values are not recovered, but stand at its
            median (extreme variance) or are NaN (never finite).
    """

    source: NDArray[np.int64]
    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]
    known: NDArray[np.bool_]

    @classmethod
    def identity(cls, num_features: int) -> "ColumnRestoration":
        """Every column is its own."""
        ones = np.ones(num_features)
        return cls(np.arange(num_features), ones, 0.0 * ones, ones > 0)

    @classmethod
    def of_kept(cls, num_features: int, kept: NDArray[np.int64]) -> "ColumnRestoration":
        """Only the kept columns come back; of the others nothing is known."""
        source = np.full(num_features, NONE, dtype=np.int64)
        slope, intercept = np.zeros(num_features), np.full(num_features, np.nan)
        source[kept], slope[kept], intercept[kept] = np.arange(len(kept)), 1.0, 0.0
        return cls(source, slope, intercept, source != NONE)

    @classmethod
    def fitted(
        cls,
        num_features: int,
        repair: ColumnRepair,
        repaired: RepairedColumns,
        kept: NDArray[np.int64],
        constant: NDArray[np.int64],
        partners: Mapping[int, int],
    ) -> "ColumnRestoration":
        """The restoration of ``num_features`` raw columns.

        Args:
            num_features: D.
            repair: of the columns that hold finite values.
            repaired: their statistics; all positions below are among these columns.
            kept: positions that stay.
            constant: positions that were dropped for having no variance.
            partners: position of a dropped duplicate -> position of the kept column it repeats;
                it is restored by the least-squares line on that column.
        """
        source = np.full(num_features, NONE, dtype=np.int64)
        slope, intercept = np.zeros(num_features), np.full(num_features, np.nan)
        known = np.zeros(num_features, dtype=bool)
        columns = repair.columns
        intercept[columns] = repair.medians
        known[columns[constant]] = True
        rank = {position: index for index, position in enumerate(kept.tolist())}
        source[columns[kept]] = np.arange(len(kept))
        slope[columns[kept]], intercept[columns[kept]] = 1.0, 0.0
        known[columns[kept]] = True
        moments, correlation = repaired.moments, repaired.correlation
        for position, partner in partners.items():
            assert correlation is not None, "duplicates are found by their correlation"
            column = columns[position]
            source[column] = rank[partner]
            slope[column] = (
                correlation[position, partner] * moments.std[position] / moments.std[partner]
            )
            intercept[column] = moments.mean[position] - slope[column] * moments.mean[partner]
            known[column] = True
        return cls(source, slope, intercept, known)

    def fits(self, num_features: int, num_kept: int) -> bool:
        """Whether the parts agree, and speak of ``num_features`` raw and ``num_kept`` columns."""
        shape = (num_features,)
        return all(
            v.shape == shape for v in (self.source, self.slope, self.intercept, self.known)
        ) and bool(((self.source >= NONE) & (self.source < num_kept)).all())

    def apply(self, kept: NDArray[np.float32]) -> NDArray[np.float32]:
        """Kept columns [n, k] -> float32 [n, D]; kept ones come back bit for bit."""
        rows = np.empty((len(kept), len(self.source)), dtype=np.float32)
        with np.errstate(over="ignore"):
            rows[:] = self.intercept
            own = (self.slope == 1.0) & (self.intercept == 0.0) & (self.source != NONE)
            rows[:, own] = kept[:, self.source[own]]
            lines = np.flatnonzero(~own & (self.source != NONE))
            if lines.size:
                taken = kept[:, self.source[lines]].astype(np.float64)
                rows[:, lines] = taken * self.slope[lines] + self.intercept[lines]
        return rows

    def to_state(self) -> dict[str, Any]:
        """Arrays that :meth:`from_state` takes."""
        return {
            "source": self.source.copy(),
            "slope": self.slope.copy(),
            "intercept": self.intercept.copy(),
            "known": self.known.copy(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "ColumnRestoration":
        """The restoration that :meth:`to_state` described."""
        return cls(
            np.asarray(state["source"], dtype=np.int64),
            np.asarray(state["slope"], dtype=np.float64),
            np.asarray(state["intercept"], dtype=np.float64),
            np.asarray(state["known"], dtype=bool),
        )
