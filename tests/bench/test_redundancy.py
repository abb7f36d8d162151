"""The page holds what the records of winning back redundancy say, and the runs go through."""

import json
from pathlib import Path

import pytest

from bench.quality_grid import RESULTS
from bench.redundancy import RUNS, main, markdown, rendered

PAGE = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.mark.parametrize("name", ["bankruptcy", "digits", "mfeat"])
def test_the_page_holds_the_recorded_figures(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    record = json.loads((RESULTS / f"redundancy-{name}.json").read_text(encoding="utf-8"))
    assert markdown(record) in page
    assert rendered(page) == page
    assert {row["run"] for row in record["rows"]} == set(RUNS)
    assert {row["seed"] for row in record["rows"]} == {0, 1, 2}


def test_a_short_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = [("training.refit.rounds", 1), ("training.refit.epochs", 1)]
    monkeypatch.setitem(RUNS, "joint, refit rounds", ("joint.yaml", brief))
    monkeypatch.delitem(RUNS, "joint, refit rounds, encoders see all")
    output = tmp_path / "record.json"
    short = ["--seeds", "0", "--epochs", "1", "--bits", "150", "--output", str(output)]
    assert main(["builtin:digits", *short]) == 0
    record = json.loads(output.read_text(encoding="utf-8"))
    assert [row["run"] for row in record["rows"]] == list(RUNS)
    for row in record["rows"]:
        assert 0 < row["sweeps"]["2"]["mean"] <= row["sweeps"]["0"]["mean"]
        assert row["bits"] == pytest.approx(150, abs=2)
    assert "| joint, refit rounds | 2 |" in capsys.readouterr().out
