"""The published imbalance is one of units; and docs/compare.md says what its records say."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.compare_page import RESULTS, TABLES, rendered
from bench.compare_page import main as draw
from bench.imbalance import imbalance, main, worst_over_best
from spinlock.config import make_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two families alike in everything but their unit."""
    rng = np.random.default_rng(0)
    families = {}
    for name, unit in (("metres", 1.0), ("millimetres", 1_000.0)):
        factors = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 6))
        families[name] = unit * (3.0 + factors + 0.1 * rng.normal(size=(300, 6)))
    np.savez(tmp_path / "data.npz", **families)
    return tmp_path / "data.npz"


def test_raw_features_measure_units_and_z_scores_do_not(data: Path) -> None:
    training = {"num_epochs": 20, "batch_size": 32, "category_assignment": "families"}
    found = imbalance(make_config({"dataset_path": str(data), "training": training}))
    assert worst_over_best(found.right) < 3
    assert worst_over_best(found.wrong) > 1e4
    # What the wrong diagnostic sees has little to do with the model.
    assert found.wrong["millimetres"] == pytest.approx(found.nothing["millimetres"], rel=0.02)
    right, wrong = found.smaller_units
    assert right == pytest.approx(found.right, rel=0.05)
    assert wrong["metres"] == pytest.approx(1e6 * found.nothing["metres"], rel=0.02)
    assert wrong["millimetres"] == pytest.approx(found.wrong["millimetres"], rel=0.02)


def test_the_command_prints_and_writes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "x.json"
    assert main([str(data), "--epochs", "1", "--output", str(record)]) == 0
    tree = json.loads(record.read_text())
    assert TABLES["imbalance"](tree) == capsys.readouterr().out.strip()
    assert "| **worst / best** |" in TABLES["imbalance"](tree)


def test_the_page_holds_the_recorded_tables() -> None:
    text = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    assert rendered(text) == text
    for name in ("imbalance-digits.json", "compare-digits.json"):
        assert f": {name} -->" in text
        assert (RESULTS / name).exists()


def test_a_record_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert draw(["--plot", "compare-digits.json", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_recorded_comparison_is_whole() -> None:
    record = json.loads((RESULTS / "compare-digits.json").read_text(encoding="utf-8"))
    names = [*record["strategies"], *record["peers"]]
    assert len(record["rows"]) == len(names) * len(record["seeds"])
    assert len(record["seeds"]) >= 3
    # The summary that was written is that of its rows.
    verdicts = [line["verdict"] for line in record["summary"] if line["verdict"]]
    assert TABLES["verdicts"](record) == "\n".join(f"- {verdict}" for verdict in verdicts)
