"""The page holds what the records of winning back redundancy say, and the runs go through."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.quality_grid import RESULTS
from bench.redundancy import ALL_AT_ONCE, PER_CATEGORY, RUNS, main, markdown, rendered

PAGE = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.mark.parametrize("name", ["bankruptcy", "digits", "mfeat", "bankruptcy-raw", "mfeat-raw"])
def test_the_page_holds_the_recorded_figures(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    record = json.loads((RESULTS / f"redundancy-{name}.json").read_text(encoding="utf-8"))
    assert markdown(record) in page
    assert rendered(page) == page
    assert {row["run"] for row in record["rows"]} == {PER_CATEGORY, ALL_AT_ONCE, *RUNS}
    assert {row["seed"] for row in record["rows"]} == {0, 1, 2}


def test_a_short_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = [("training.refit.rounds", 1), ("training.refit.epochs", 1)]
    monkeypatch.setitem(RUNS, "joint, refit rounds", ("joint.yaml", brief))
    monkeypatch.delitem(RUNS, "joint, refit rounds, encoders see all")
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(400, 3))
    parts = [shared @ rng.normal(size=(3, n)) + 0.2 * rng.normal(size=(400, n)) for n in (6, 4)]
    data, output = tmp_path / "data.npz", tmp_path / "record.json"
    np.savez(data, shape=parts[0].astype("f4"), colour=parts[1].astype("f4"))
    short = ["--prepared", "--seeds", "0", "--epochs", "1", "--bits", "20"]
    assert main([str(data), *short, "--output", str(output)]) == 0
    record = json.loads(output.read_text(encoding="utf-8"))
    assert [row["run"] for row in record["rows"]] == [PER_CATEGORY, ALL_AT_ONCE, *RUNS]
    for row in record["rows"]:
        errors = [found["mean"] for found in row["sweeps"].values()]
        assert errors == sorted(errors, reverse=True)
        assert min(errors) > 0
        assert len(errors) == (3 if row["run"] in RUNS else 1)
        assert row["bits"] == pytest.approx(20, abs=1)
    assert "| joint, refit rounds | 2 |" in capsys.readouterr().out
