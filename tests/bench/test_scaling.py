"""The record behind docs/scaling.md: what is weighed, how it is extrapolated, and the page."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from bench.quality_grid import RESULTS
from bench.scaling import TABLES, rendered
from bench.scaling_model import (
    SCENARIOS,
    Scenario,
    evaluate,
    model_size,
    pass_cost,
    polynomial,
    training_cost,
)
from bench.scaling_passes import Bench, Weighed, write_shards
from spinlock.data.parts import array_parts
from spinlock.engine import IN_PROCESS

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def record() -> dict[str, object]:
    """Costs of 2 + 0.5 D nanoseconds per value and 100 + 3 D^2 bytes per part."""
    widths = [
        {
            "pass": "fit",
            "rows": 1000,
            "columns": d,
            "seconds": 1e-9 * 1000 * d * (2 + 0.5 * d),
            "result_bytes": 100 + 3 * d * d,
        }
        for d in (10, 40, 100)
    ]
    return {
        "widths": widths,
        "speed_up": {"passes": [{"pass": "fit", "efficiency": 0.5}]},
        "training": [{"batch_size": 64, "parameters": 1000, "step_seconds": {"1": 0.064}}],
    }


def test_constants_are_found_again() -> None:
    assert polynomial(record(), "fit", "seconds", 1) == pytest.approx([2e-9, 0.5e-9])
    assert polynomial(record(), "fit", "result_bytes", 2) == pytest.approx([100, 0, 3], abs=1e-6)
    assert evaluate([1.0, 2.0, 3.0], 2.0) == 17.0


def test_costs_of_a_scenario() -> None:
    scenario = Scenario(rows=10**9, features=100, categories=5, workers=8, batch_size=512)
    found = pass_cost(record(), "fit", scenario)
    hours = 1e9 * 100 * (2 + 50) * 1e-9 / 3600
    assert found.processor_hours == pytest.approx(hours)
    assert found.wall_hours == pytest.approx(hours / 8 / 0.5)
    assert found.network_bytes == pytest.approx(30_100 * 2048)
    step = training_cost(record(), scenario)
    assert (step.parameters, step.statistics) == model_size(100, 5)
    assert step.bytes_per_step == 4 * (step.parameters + step.statistics)
    # 1 microsecond per row and number.
    assert step.compute_seconds == pytest.approx(1e-6 * step.parameters * 512 / 8)
    alone = training_cost(record(), Scenario(10, 100, 5, workers=1, batch_size=512))
    assert alone.network_seconds == 0.0


def test_results_are_weighed() -> None:
    weighed = Weighed(IN_PROCESS)
    parts = array_parts(np.ones((5, 1), np.float32), 2)
    assert list(weighed.map(lambda part, _: "x" * part.num_rows, parts)) == ["xx", "xx", "x"]
    assert weighed.largest == [len(pickle.dumps("xx", protocol=5))]


def test_every_pass_runs(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path / "set", rows=2_600, columns=20, files=2)
    for name in ("fit", "encode", "decode", "diagnose"):
        weighed = Weighed(IN_PROCESS)
        assert bench.seconds(name, weighed) > 0
        assert weighed.largest, name
        assert max(weighed.largest) > (1000 if name in ("fit", "diagnose") else 1)


def test_shards_hold_what_they_say(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    write_shards(tmp_path / "in", rows=1_001, columns=19, files=3)
    tables = [parquet.read_table(path) for path in sorted((tmp_path / "in").iterdir())]
    assert sum(table.num_rows for table in tables) == 1_001
    assert {table.num_columns for table in tables} == {19}
    assert tables[0].column_names[9] == "f1::x1"


def test_the_page_holds_the_recorded_figures() -> None:
    page = PAGE.read_text(encoding="utf-8")
    found = json.loads((RESULTS / "scaling.json").read_text(encoding="utf-8"))
    for table in TABLES.values():
        assert table(found) in page
    assert rendered(page) == page
    assert len(SCENARIOS) == 3
