"""What a feature cleaner has learned, as one value, and how it is saved."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from spinlock.data.cleaning_report import CleaningReport
from spinlock.data.column_repair import ColumnRepair
from spinlock.data.indicators import MissingIndicators
from spinlock.data.matrix import State, require_keys
from spinlock.data.restoration import ColumnRestoration
from spinlock.errors import CheckpointError

_KEYS = (
    "parameters", "names", "kept", "medians", "lower", "upper", "restoration", "indicators",
    "report",
)  # fmt: skip


@dataclass(frozen=True)
class FittedCleaning:
    """Everything beside the parameters that ``FeatureCleaner`` needs to clean rows.

    Attributes:
        names: of the D raw columns.
        repair: medians and caps of the columns that stay.
        restoration: how the raw columns follow from them.
        indicators: the columns of 0 and 1 behind them.
        report: what each step did.
    """

    names: tuple[str, ...]
    repair: ColumnRepair
    restoration: ColumnRestoration
    indicators: MissingIndicators
    report: CleaningReport

    @classmethod
    def identity(cls, names: tuple[str, ...], num_rows: int) -> Self:
        """All columns as they are, of so many rows."""
        width = len(names)
        return cls(
            names,
            ColumnRepair.identity(width),
            ColumnRestoration.identity(width),
            MissingIndicators.none(width),
            CleaningReport(num_rows, width, width, steps=()),
        )

    def to_state(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays, and plain values in dicts and lists, with the cleaner's parameters."""
        return {
            "parameters": dict(parameters),
            "names": list(self.names),
            "kept": self.repair.columns.copy(),
            "medians": self.repair.medians.copy(),
            "lower": self.repair.lower.copy(),
            "upper": self.repair.upper.copy(),
            "restoration": self.restoration.to_state(),
            "indicators": self.indicators.to_state(),
            "report": self.report.to_dict(),
        }

    @classmethod
    def from_state(cls, state: State, known: Collection[str]) -> Self:
        """What :meth:`to_state` gave; ``known`` are the parameters that a cleaner has.

        Raises:
            CheckpointError: a state that is incomplete or contradicts itself.
        """
        require_keys(state, _KEYS, "the feature cleaner")
        unknown = set(state["parameters"]) - set(known)
        repair = ColumnRepair(
            np.asarray(state["kept"], dtype=np.int64),
            *(np.asarray(state[k], dtype=np.float32) for k in ("medians", "lower", "upper")),
        )
        restoration = ColumnRestoration.from_state(state["restoration"])
        indicators = MissingIndicators.from_state(state["indicators"])
        width = len(state["names"])
        fits = (
            repair.fits(width)
            and restoration.fits(width, len(repair.columns))
            and indicators.fits(width)
        )
        if unknown or not fits:
            raise CheckpointError(
                "the saved state of the feature cleaner contradicts itself: "
                f"{len(state['names'])} names, {len(repair.columns)} kept columns, unknown "
                f"parameters {sorted(unknown)}. Fit again, or load another checkpoint."
            )
        report = CleaningReport.from_dict(state["report"])
        return cls(tuple(state["names"]), repair, restoration, indicators, report)
