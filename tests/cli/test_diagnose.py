"""``spinlock diagnose``: which rows, which outputs, and what it refuses."""

import builtins
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnosis_models import families, trained, trained_on
from spinlock.training.checkpoint import load_model, save_model

RunCommand = Callable[..., Any]

WIDTHS = {"shape": 5, "colour": 3}


@pytest.fixture(scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diagnosed")
    trained(folder, WIDTHS, training={"validation_split": 0.25})
    return folder


@pytest.fixture
def run(_folder: Path) -> Path:
    """The checkpoint directory of a model whose data set of 200 rows lies beside it."""
    return _folder / "run"


def measured(run_command: RunCommand, *arguments: str | Path) -> dict[str, Any]:
    ended = run_command("diagnose", *arguments, "--json")
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def test_held_out_rows_are_those_of_training(run_command: RunCommand, run: Path) -> None:
    found = measured(run_command, run)
    metrics = load_model(run).metrics
    assert metrics is not None
    assert found["rows"] == metrics.rows == 50
    assert found["measured_rows"] == "50 held-out rows"
    assert found["data_changed"] is False
    assert found["mean_mse"] == pytest.approx(metrics.mean_mse, rel=1e-6)
    assert [q["utilization"] for q in found["quantizers"]] == pytest.approx(
        list(metrics.utilization_per_quantizer)
    )


@pytest.mark.parametrize(("split", "rows"), [("validation", 50), ("training", 150), ("all", 200)])
def test_splits(run_command: RunCommand, run: Path, split: str, rows: int) -> None:
    assert measured(run_command, run, "--split", split)["rows"] == rows


def test_fewer_rows(run_command: RunCommand, run: Path) -> None:
    found = measured(run_command, run, "--max-rows", "20")
    assert (found["rows"], found["measured_rows"]) == (20, "20 of 50 held-out rows")
    assert measured(run_command, run, "--max-rows", "20") == found


def test_other_data_are_matched_by_name(run_command: RunCommand, run: Path, tmp_path: Path) -> None:
    whole = measured(run_command, run, "--split", "all")
    arrays = dict(np.load(run.parent / "data.npz"))
    np.savez(tmp_path / "turned.npz", **dict(reversed(arrays.items())))
    found = measured(run_command, run, tmp_path / "turned.npz")
    assert (found["rows"], found["data_changed"]) == (200, None)
    assert found["mean_mse"] == pytest.approx(whole["mean_mse"], rel=1e-6)
    some = measured(run_command, run, tmp_path / "turned.npz", "--max-rows", "30")
    assert (some["rows"], some["measured_rows"]) == (30, "30 of 200 rows")


def test_missing_columns_are_named(run_command: RunCommand, run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "less.npz", **families({"shape": 5, "colour": 2}))
    ended = run_command("diagnose", run, tmp_path / "less.npz")
    assert ended.code == 1
    assert "colour::2" in ended.err
    assert "Traceback" not in ended.err


def test_tables_are_plain_and_worst_first(run_command: RunCommand, run: Path) -> None:
    ended = run_command("diagnose", run)
    assert ended.code == 0, ended.err
    assert "reconstruction of 50 held-out rows" in ended.out
    assert "worst of 8 features" in ended.out
    assert "of rows share all tokens with another" in ended.out
    assert "\x1b" not in ended.out + ended.err
    names = [name for name in ("shape", "colour") if f"│ {name}" in ended.out]
    assert len(names) == 2
    worst = json.loads(run_command("diagnose", run, "--json").out)["worst_category"]
    assert min(names, key=lambda name: ended.out.index(f"│ {name}")) == worst


def test_a_report_and_figures_are_written(
    run_command: RunCommand, run: Path, tmp_path: Path
) -> None:
    arguments = ("diagnose", run, "--html", "report.html", "--figures", "figures")
    ended = run_command(*arguments)
    assert ended.code == 0, ended.err
    assert "report: report.html" in ended.err
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "50 held-out rows" in page
    assert load_model(run).preprocessing.fingerprint in page
    assert {"errors.png", "errors.svg", "losses.png"} <= {p.name for p in Path("figures").iterdir()}
    assert run_command(*arguments).code == 0  # its own files are replaced


def test_foreign_files_are_kept(run_command: RunCommand, run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.html").write_text("years of work")
    ended = run_command("diagnose", run, "--html", "thesis.html")
    assert ended.code == 2
    assert ended.out == ""  # found before the work
    assert "is no report of spinlock" in ended.err
    assert (tmp_path / "thesis.html").read_text() == "years of work"
    assert run_command("diagnose", run, "--html", "thesis.html", "--overwrite", "-q").code == 0
    assert (tmp_path / "thesis.html").read_text(encoding="utf-8").startswith("<!DOCTYPE")


def test_a_model_folder_without_history_is_diagnosed(
    run_command: RunCommand, run: Path, tmp_path: Path
) -> None:
    saved = replace(load_model(run), history=(), metrics=None, data_fingerprint=None)
    save_model(saved, tmp_path / "bare")
    ended = run_command("diagnose", "bare", "--json", "--html", "x.html")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["data_changed"] is None
    assert 'id="losses"' not in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_changed_data_are_noticed(run_command: RunCommand, tmp_path: Path) -> None:
    saved = trained(tmp_path, WIDTHS)
    np.savez(tmp_path / "data.npz", **families(WIDTHS, seed=9))
    assert saved.path is not None
    ended = run_command("diagnose", saved.path, "--json", "--quiet")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["data_changed"] is True
    assert "the data set has changed since the model was trained" in ended.err


def test_training_rows_stand_in_where_none_are_held_out(
    run_command: RunCommand, tmp_path: Path
) -> None:
    trained(tmp_path / "x", {"only": 4}, training={"validation_split": 0.0})
    ended = run_command("diagnose", "x/run", "--json")
    assert json.loads(ended.out)["measured_rows"] == "200 training rows"
    assert "rows that the model knows" in ended.err


def test_data_that_are_gone_are_named_with_the_remedy(
    run_command: RunCommand, tmp_path: Path
) -> None:
    saved = trained(tmp_path / "x", {"only": 4})
    (tmp_path / "x" / "data.npz").unlink()
    assert saved.path is not None
    ended = run_command("diagnose", saved.path)
    assert ended.code == 1
    assert "data.npz" in ended.err
    assert "name the data to diagnose it on after the checkpoint" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--split", "test"), 2, "expected validation, training or all"),
        (("--max-rows", "0"), 2, "at least 1 row"),
        (("data.npz", "--split", "all"), 2, "leave one of them out"),
        (("no-such.npz",), 1, "no-such.npz"),
        (("--html", "no/such/folder.html"), 2, "does not exist"),
        (("--html", "."), 2, "is a folder"),
        (("--html", "rep.txt"), 2, "--html: 'rep.txt' must end in .html or .htm"),
        (("--device", "abacus"), 2, "abacus"),
    ],
)
def test_what_it_refuses(
    run_command: RunCommand, run: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    ended = run_command("diagnose", run, *arguments)
    assert ended.code == code, ended.err
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_a_missing_library_is_said_before_the_work(
    run_command: RunCommand, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "jinja2":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    ended = run_command("diagnose", run, "--html", "x.html")
    assert (ended.code, ended.out) == (1, "")
    assert "needs jinja2: pip install 'spinlock-vq[report]'" in ended.err


def test_families_of_the_run_are_read_from_other_data(
    run_command: RunCommand, tmp_path: Path
) -> None:
    """Series are encoded as in training, and families that the model does not know are left."""
    rng = np.random.default_rng(0)
    series = rng.normal(size=(120, 6, 2)).astype(np.float32).cumsum(axis=1)
    np.savez(tmp_path / "series.npz", walk=series, other=rng.normal(size=(120, 3)))
    saved = trained_on(
        tmp_path, str(tmp_path / "series.npz"), families={"walk": {"encoder": "temporal_summary"}}
    )
    assert saved.path is not None
    whole = measured(run_command, saved.path, "--split", "all")
    found = measured(run_command, saved.path, "series.npz")
    assert found["rows"] == 120
    assert found["mean_mse"] == pytest.approx(whole["mean_mse"], rel=1e-6)
