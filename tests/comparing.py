"""Comparisons that take a moment, and a listener that remembers."""

import json
from typing import Any

from spinlock.comparison.record import ComparisonRecord
from spinlock.comparison.rows import Row
from spinlock.comparison.runner import Listener
from spinlock.comparison.settings import ComparisonSettings, comparison_settings


def settings(**asked: Any) -> ComparisonSettings:
    given = {"strategies": "uniform,dimensionality", "peers": "none", "num_seeds": 2}
    return comparison_settings(**{**given, **asked})


class Heard(Listener):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.begun: list[str] = []

    def on_contender(self, name: str, split: tuple[int, int | None]) -> None:
        self.begun.append(f"{name} {split[0]}" + ("" if split[1] is None else f" {split[1]}"))

    def on_row(self, record: ComparisonRecord, row: Row) -> None:
        assert json.loads(record.path.read_text())["rows"][-1]["name"] == row.name
        self.rows.append(row)


def plain(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.to_dict().items() if key != "seconds"}
