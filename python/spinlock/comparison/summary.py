"""Rows over splits made one line per contender: means, seed spread, differences, verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinlock.comparison.rows import Row
from spinlock.comparison.settings import ComparisonSettings
from spinlock.comparison.spread import PairedChange, paired_change, seed_spread
from spinlock.comparison.verdict import verdict

# Figure -> how to read it from a row that ran.
FIGURES: dict[str, Callable[[Row], float | None]] = {
    "worst": lambda row: _metrics(row).worst_mse,
    "worst_over_mean": lambda row: _metrics(row).worst_over_mean,
    "worst_over_best": lambda row: _metrics(row).worst_over_best,
    "mean": lambda row: _metrics(row).mean_mse,
    "best": lambda row: _metrics(row).best_mse,
    "feature_mse": lambda row: _metrics(row).feature_mse,
    "gap_db": lambda row: row.gap_db,
    "utilization": lambda row: _metrics(row).utilization,
    "perplexity": lambda row: _metrics(row).mean_perplexity,
    "dead_codes": lambda row: _metrics(row).dead_codes,
    "bits": lambda row: _metrics(row).bits,
    "budget": lambda row: row.budget,
    "own_bits": lambda row: row.own_bits,
    "total_codes": lambda row: row.total_codes,
    "parameters": lambda row: row.parameters,
    "seconds": lambda row: row.seconds,
    "accuracy": lambda row: row.decoded_accuracy,
    "retention": lambda row: row.retention,
}
COMPARED = ("worst", "mean")


@dataclass(frozen=True)
class Line:
    """One contender over all of its splits.

    Attributes:
        name: of the strategy or peer.
        rows: that ran, in the order of the splits.
        splits: that there are in all.
        means: figure of ``FIGURES`` -> its mean over the rows; None where no row has it.
        spreads: figure -> standard deviation over seeds; None with one seed.
        changes: ``worst`` and ``mean`` -> the change against the baseline on the splits that both
            have; empty for the baseline itself and without such splits.
        verdict: the comparison with the baseline in words; empty where there is none.
        note: why it could not run, or None.
    """

    name: str
    rows: tuple[Row, ...]
    splits: int
    means: dict[str, float | None]
    spreads: dict[str, float | None]
    changes: dict[str, PairedChange]
    verdict: str
    note: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "name": self.name,
            "splits_done": len(self.rows),
            "splits": self.splits,
            "means": {key: _finite(value) for key, value in self.means.items()},
            "seed_spread": {key: _finite(value) for key, value in self.spreads.items()},
            "changes": {key: dict(vars(change)) for key, change in self.changes.items()},
            "verdict": self.verdict,
            "note": self.note,
        }


def summarise(settings: ComparisonSettings, rows: Sequence[Row]) -> list[Line]:
    """A line per contender, in the order of the settings, from whatever rows there are."""
    return [_line(settings, name, rows) for name in settings.names]


def _line(settings: ComparisonSettings, name: str, rows: Sequence[Row]) -> Line:
    order = {split: place for place, split in enumerate(settings.splits)}
    mine = sorted(
        (row for row in rows if row.name == name and (row.seed, row.fold) in order),
        key=lambda row: order[row.seed, row.fold],
    )
    ran = tuple(row for row in mine if row.metrics is not None)
    seeds = [row.seed for row in ran]
    means: dict[str, float | None] = {}
    spreads: dict[str, float | None] = {}
    for figure, read in FIGURES.items():
        values = [read(row) for row in ran]
        known = [float(value) for value in values if value is not None]
        whole = known if known and len(known) == len(values) else None
        means[figure] = None if whole is None else float(np.mean(whole))
        spreads[figure] = None if whole is None else seed_spread(whole, seeds)
    changes = {} if name == settings.baseline else _changes(ran, _of(rows, settings.baseline))
    note = next((row.note for row in mine if row.metrics is None), None)
    return Line(
        name=name,
        rows=ran,
        splits=len(settings.splits),
        means=means,
        spreads=spreads,
        changes=changes,
        verdict=verdict(
            name,
            settings.baseline,
            changes,
            bits_over=_bits_over(ran, _of(rows, settings.baseline)),
            what="seeds" if settings.folds is None else "splits",
        ),
        note=note,
    )


def _changes(ran: Sequence[Row], baseline: dict[Any, Row]) -> dict[str, PairedChange]:
    pairs = [(row, baseline[row.key[1:]]) for row in ran if row.key[1:] in baseline]
    changes = {}
    for figure in COMPARED:
        mine, theirs = (
            [float(FIGURES[figure](pair[side]) or 0.0) for pair in pairs] for side in (0, 1)
        )
        if pairs and min(mine) > 0.0 and min(theirs) > 0.0:
            first = pairs[0][0]
            share = first.held_out_rows / (first.held_out_rows + first.training_rows)
            changes[figure] = paired_change(mine, theirs, share)
    return changes


def _bits_over(ran: Sequence[Row], baseline: dict[Any, Row]) -> float:
    """Mean bits above the baseline's on the same splits."""
    differences = [
        _metrics(row).bits - _metrics(baseline[row.key[1:]]).bits
        for row in ran
        if row.key[1:] in baseline
    ]
    return float(np.mean(differences)) if differences else 0.0


def _of(rows: Sequence[Row], name: str) -> dict[Any, Row]:
    return {row.key[1:]: row for row in rows if row.name == name and row.metrics is not None}


def _metrics(row: Row) -> Any:
    assert row.metrics is not None, "only rows that ran have figures"
    return row.metrics


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
