"""The recorded retention runs: pages say what the files say, and a run goes end to end."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from bench.retention import CLASSIFIERS, curve_table, main, plot, records, rendered, retention_table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["bits.md", "downstream.md"])
def test_pages_hold_the_recorded_tables(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert rendered(text) == text
    if page == "downstream.md":
        assert retention_table(records()) in text
    else:
        assert all(curve_table(record) in text for record in records())


def test_every_data_set_is_recorded_over_seeds_and_budgets() -> None:
    found = records()
    assert len(found) == 3
    for record in found:
        defaults = [row for row in record["rows"] if row["budget"] == "default"]
        assert len({row["seed"] for row in defaults}) == 3
        assert len({row["bits"] for row in record["rows"]}) >= 4


def test_a_run_writes_its_record_and_its_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = partial(RandomForestClassifier, 20, random_state=0)
    monkeypatch.setitem(CLASSIFIERS, "random forest", few)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    features = rng.normal(size=(150, 8)) + 3 * np.eye(8)[labels]
    np.savez(tmp_path / "x.npz", features=features, labels=labels)
    record = tmp_path / "retention-x.json"
    arguments = ["--seeds", "0", "--sizes", "4", "--epochs", "2", "--output", str(record)]
    assert main([str(tmp_path / "x.npz"), *arguments]) == 0
    rows = json.loads(record.read_text())["rows"]
    assert [row["budget"] for row in rows] == ["default", "4 codes"]
    assert rows[1]["bits"] == 2 * rows[1]["tokens"]
    for scores in rows[0]["accuracy"].values():
        assert scores["raw"] > 0.8
        assert scores["decoded"] > 0.5
    assert "| default |" in capsys.readouterr().out
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    plot([json.loads(record.read_text())], tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
