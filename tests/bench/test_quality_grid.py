"""The recorded quality runs: the page says what the files say, and a grid runs end to end."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.quality_grid import RESULTS, main, rendered

ROOT = Path(__file__).parents[2]


def test_the_page_holds_the_recorded_tables() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert page.count("<!-- table:") == len(list(RESULTS.glob("quality-*.json")))
    assert rendered(page) == page


def test_every_record_covers_the_whole_grid() -> None:
    for path in RESULTS.glob("quality-*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        runs = {(row["form"], row["ratios"], row["sizes from"]) for row in record["rows"]}
        assert len(runs) == len(record["rows"]) == 9, path.name
        assert record["environment"]["torch"]


def test_a_grid_runs_and_writes_its_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.random.default_rng(0).normal(size=(120, 7)).astype(np.float32)
    np.savez(tmp_path / "tiny.npz", features=rows, category_sizes=np.array([4, 3]))
    record = tmp_path / "tiny.json"
    arguments = [str(tmp_path / "tiny.npz"), "--prepared", "--epochs", "1", "--output", str(record)]
    assert main([*arguments, "--threads", "1"]) == 0
    assert "published baseline" in capsys.readouterr().out
    assert len(json.loads(record.read_text())["rows"]) == 9
