"""``spinlock compare``: tables, files, going on, and one message for what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from spinlock.comparison.downstream import CLASSIFIERS

RunCommand = Callable[..., Any]

SMALL = ("--strategies", "uniform,variance", "--seeds", "1", "--epochs", "1")


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    few = partial(RandomForestClassifier, 5, random_state=0)
    monkeypatch.setitem(CLASSIFIERS, "random forest", few)


def test_tables_files_and_verdicts(run_command: RunCommand, config_file: Path) -> None:
    ended = run_command("compare", "--config", config_file, *SMALL, "--seeds", "2", "--verbose")
    assert ended.code == 0, ended.err
    assert "errors on held-out rows" in ended.out
    assert "own bits" in ended.out
    assert "every run" in ended.out
    assert "\x1b" not in ended.out + ended.err
    assert "1/10 uniform, seed 0: worst" in ended.err
    assert "10/10 fsq, seed 1: worst" in ended.err
    folder = config_file.parent / "comparisons" / "x"
    assert {"compare.json", "compare.html"} <= {path.name for path in folder.iterdir()}
    found = json.loads((folder / "compare.json").read_text())
    assert [line["name"] for line in found["summary"]] == [
        "uniform", "variance", "pca_kmeans", "joint_rq", "fsq"
    ]  # fmt: skip
    assert found["summary"][1]["verdict"] in ended.out
    for row in found["rows"]:
        assert row["note"] or row["metrics"]["worst_mse"] > 0


def test_json_and_quiet(run_command: RunCommand, config_file: Path) -> None:
    arguments = ("compare", "--config", config_file, *SMALL, "--peers", "none", "--output", "out")
    document = json.loads(run_command(*arguments, "--json").out)
    assert document["baseline"] == "uniform"
    assert len(document["rows"]) == 2
    again = run_command(*arguments, "--quiet")
    assert again.code == 0
    assert again.err == ""
    assert again.out == document["summary"][1]["verdict"] + "\n"
    assert json.loads(run_command(*arguments, "--json").out)["rows"] == document["rows"]


def test_flags_reach_the_runs(run_command: RunCommand, config_file: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez("other.npz", a=rng.normal(size=(60, 5)), labels=rng.integers(0, 2, 60))
    ended = run_command(
        "compare", "--config", config_file, *SMALL, "--peers", "pca_kmeans",
        "--baseline", "variance", "--folds", "2", "--bits", "12", "--seed", "5",
        "--input", "other.npz", "--output", "out",
        "--keep-models", "--set", "training.batch_size=16", "--json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert [(row["name"], row["seed"], row["fold"]) for row in found["rows"]] == [
        (name, 5, fold) for fold in (0, 1) for name in ("uniform", "variance", "pca_kmeans")
    ]
    assert {row["budget"] for row in found["rows"]} == {12.0}
    assert {row["held_out_rows"] for row in found["rows"]} == {30}
    assert found["summary"][0]["verdict"] != ""
    assert found["summary"][1]["verdict"] == ""
    assert found["rows"][0]["accuracy"]["logistic regression"].keys() == {"raw", "decoded"}
    assert (Path("out") / "runs" / "variance-seed-5-fold-1" / "latest").exists()
    assert found["conditions"]["training.batch_size"] == 16


def test_ctrl_c_says_how_to_go_on(
    run_command: RunCommand, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    arguments = (
        "compare",
        "--config",
        config_file.name,
        *SMALL,
        "--peers",
        "pca_kmeans",
        "--fresh",
    )
    with monkeypatch.context() as patched:
        patched.setattr("spinlock.comparison.contenders.fit_pca_kmeans", stopped)
        ended = run_command(*arguments)
    assert ended.code == 130
    command = "spinlock compare --config x.yaml " + " ".join(SMALL) + " --peers pca_kmeans"
    assert f"'comparisons/x/compare.json' is saved; to go on:\n  {command}\n" in ended.err
    rest = run_command(*command.split()[1:])
    assert rest.code == 0
    assert "2 of 3 runs are there already" in rest.err
    assert "3/3 pca_kmeans, seed 0" in rest.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--strategies", "unifrom"), 2, "did you mean 'uniform'"),
        (("--strategies", "uniform", "--baseline", "balanced"), 2, "'balanced' is not compared"),
        (("--folds", "1"), 2, "--folds: expected at least 2, got 1"),
        (("--seeds", "0"), 2, "--seeds: expected"),
        (("--seeds", "many"), 2, "Invalid value for '--seeds'"),
        (("--bits", "0"), 2, "--bits: expected"),
        (("--peers", "annoy"), 2, "unknown peer 'annoy'"),
        (("--epochs", "0"), 2, "training.num_epochs"),
        (("--set", "training.validation_split=0"), 2, "--folds"),
        (("--set", "model.levels={shape: [{num_tokens: 4}]}"), 2, "leave a strategy nothing"),
        (("--input", "missing.npz"), 1, "missing.npz"),
        (("--seed", "4294966295", "--seeds", "3"), 2, "random_seed"),
        (("--quiet", "--verbose"), 2, "contradict"),
    ],
)
def test_one_message_and_no_traceback(
    arguments: tuple[str, ...], code: int, says: str, run_command: RunCommand, config_file: Path
) -> None:
    ended = run_command("compare", "--config", config_file, *arguments)
    assert ended.code == code, ended.err
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_help_says_what_the_page_says_of_verbose_and_quiet(run_command: RunCommand) -> None:
    words = " ".join(run_command("compare", "--help").out.split())
    assert "Print a table of every single run as well." in words
    assert "Print the verdicts only." in words


def test_wrong_names_are_found_before_torch_is_loaded(config_file: Path) -> None:
    code = (
        "import sys; from spinlock.cli.main import main; code = main(sys.argv[1:]);"
        "sys.exit(3 if 'torch' in sys.modules else code)"
    )
    command = [sys.executable, "-c", code, "compare", "--config", str(config_file), "--folds", "1"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
