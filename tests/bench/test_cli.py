"""The command line: every option, what it refuses in one line, and what its exit code says."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import cli
from bench.cli import main
from bench.peers import spinlock_ragged
from bench.record import Record
from bench.suites.registry import QUICK_SUITES, SUITES
from bench_records import record

ROOT = Path(__file__).parents[2]
QUICKLY = ["--seconds", "0.001", "--peers", "none", "--threads", "1"]

# Other packages' own affairs; warnings of our own still fail a test.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def shapes(tmp_path: Path) -> str:
    file = tmp_path / "mine.yaml"
    file.write_text("- {name: mine, codebook_sizes: [8, 4], dims: [3, 5], num_rows: 10}\n")
    return str(file)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Standard output, without the places of its line breaks."""
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.long
def test_a_quick_run_passes_its_gate(tmp_path: Path) -> None:
    path = tmp_path / "quick.json"
    options = ["--quick", "--seconds", "0.002", "--threads", "1", "--json", str(path)]
    # every peer passes the gate in test_peers
    assert main([*options, "--peers", "torch loop", "faiss", "vector"]) == 0
    found = Record.load(path)
    assert {row.suite for row in found.rows} == set(QUICK_SUITES)
    assert {row.workload for row in found.rows} == {"seed-512", "seed-4096"}
    assert found.limits.keys() >= {"fp32 FMA GFLOP/s, 1 thread", "read GB/s from memory, 1 thread"}
    timed = [row for row in found.rows if row.timings and row.suite != "exactness"]
    assert all("fp32 FMA GFLOP/s, 1 thread" in row.peaks for row in timed)
    own = [row for row in found.rows if row.contender.startswith("spinlock")]
    assert {"spinlock reference", "spinlock torch", "spinlock cpp"} <= {
        row.contender for row in own if row.status == "ok"
    }
    assert {row.status for row in own} <= {"ok", "missing"}
    assert not any(share for row in own for share in row.wrong.values())
    assert all(row.timings for row in own if row.status == "ok" and row.suite != "exactness")
    assert "failed" not in {row.status for row in found.rows}


def test_every_option_of_a_run(
    shapes: str,
    known_limits: dict[str, float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    made = {name: tmp_path / f"out.{name}" for name in ("json", "markdown", "plot")}
    options = ["--suite", "lookup", "memory", "--workload", shapes, "--device", "cpu"]
    options += ["--threads", "2", "--seconds", "0.001", "--rounds", "1", "--quick", "--in-cache"]
    options += ["--peers", "spinlock torch", "sklearn"]
    options += [word for name, path in made.items() for word in (f"--{name}", str(path))]
    assert main(options) == 0
    found = Record.load(made["json"])
    assert {row.suite for row in found.rows} == {"lookup", "memory"}
    assert {row.workload for row in found.rows} == {"mine"}
    assert {row.contender for row in found.rows} == {"spinlock torch", "sklearn argmin"}
    clocks = [(t.clock, t.threads) for t in found.rows[0].timings]
    assert clocks == [("cpu", 1), ("wall", 2)]
    assert found.limits == known_limits
    assert found.environment["threads"] == 2
    assert "a note on the limits" in found.noise
    assert str(tmp_path) not in made["json"].read_text()
    assert "--workload mine.yaml --device cpu" in found.command
    assert "| contender |" in made["markdown"].read_text()
    assert made["plot"].read_bytes().startswith(b"\x89PNG")
    assert "lookup mine: B 10, Q 2, K 4..8, D 3..5" in said(capsys)


@pytest.mark.usefixtures("known_limits")
def test_json_goes_to_the_screen_and_one_thread_has_no_wall_clock(
    shapes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--suite", "backward", "--workload", shapes, *QUICKLY, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    timed = [row["timings"] for row in rows if row["status"] == "ok"]
    assert timed
    assert {timing["clock"] for timings in timed for timing in timings} == {"cpu"}


def test_a_list_says_what_there_is(shapes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--workload", "all", shapes]) == 0
    text = said(capsys)
    for name in (*SUITES, "seed-512", "single-16384-16384-8", "mine", "vector-quantize-pytorch"):
        assert name in text
    assert "spinlock cpp: ready" in text
    assert "flash-kmeans: runs on cuda only" in text


def test_a_record_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, page = tmp_path / "record.json", tmp_path / "page.md"
    path.write_text(record().to_json())
    assert main(["--show", str(path), "--markdown", str(page)]) == 0
    assert "spinlock torch: 0.40x fast peer (slower), 4.5x slow peer" in said(capsys)
    assert "| lookup | ragged-4096 | spinlock torch | 0.40x | 4.5x |" in page.read_text()


def test_pages_are_filled_in_all_or_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "record.json"
    results.write_text(record().to_json())
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text(f"<!-- bench: {results} limits --><!-- end -->\n")
    bad.write_text(f"<!-- bench: {results} limits -->\n")
    before = good.read_text()
    assert main(["--render", str(good), str(bad)]) == 2
    assert "without its" in capsys.readouterr().err
    assert good.read_text() == before
    assert main(["--render", str(good)]) == 0
    assert "| fp32 FMA GFLOP/s | 100 | 200 |" in good.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"record.json", "good.md", "bad.md"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--suite", "speed"], "invalid choice: 'speed'"),
        (["--workload", "sead"], "expected one of seed, ragged, single, all"),
        (["--workload", "none.yaml"], "none.yaml: No such file"),
        (["--peers", "fais5"], "got 'fais5'"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--threads", "0"], "expected a whole number of 1 or more, got '0'"),
        (["--rounds", "some"], "expected a whole number of 1 or more, got 'some'"),
        (["--seconds", "-1"], "expected a number of seconds above 0, got '-1'"),
        (["--json", "none/run.json"], "none/run.json: expected a file in a folder"),
        (["--markdown", "."], ".: expected a file in a folder"),
        (["--plot", "none/run.png"], "none/run.png: expected a file in a folder"),
        (["--show", "none.json"], "none.json: expected a record"),
        (["--show"], "expected one argument"),
        (["--render", "none.md"], "none.md: cannot be read"),
        (["--jso", "run.json"], "unrecognized arguments"),
        (["lookup"], "unrecognized arguments: lookup"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_run_is_one_line(
    options: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "NoiseWatch", lambda *_: pytest.fail("measured all the same"))
    assert main(options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("bench: ")
    assert complaint in err
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cuda"]) == 2
    assert "torch sees no CUDA device" in capsys.readouterr().err


def test_a_picture_without_matplotlib_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec

    def hidden(name: str) -> Any:
        return None if name == "matplotlib" else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    assert main(["--plot", "run.png"]) == 2
    assert "pip install matplotlib" in capsys.readouterr().err


@pytest.mark.usefixtures("known_limits")
def test_a_wrong_result_of_ours_has_no_speed_and_ends_with_1(
    shapes: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = spinlock_ragged.nearest_codes

    def wrong(*arguments: Any, **options: Any) -> torch.Tensor:
        indices = right(*arguments, **options).clone()
        indices[0, 0] = (indices[0, 0] + 1) % 2
        return indices

    monkeypatch.setattr(spinlock_ragged, "nearest_codes", wrong)
    path = tmp_path / "run.json"
    options = ["--suite", "lookup", "--workload", shapes, *QUICKLY, "--json", str(path)]
    assert main(options) == 1
    refused = [row for row in Record.load(path).rows if row.status == "wrong"]
    assert {row.contender for row in refused} >= {"spinlock torch", "spinlock cpp"}
    assert not any(row.timings for row in refused)
    assert "checked indices differ" in said(capsys)


def test_help_names_every_option_and_suite() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name in (
        *SUITES,
        "suite",
        "workload",
        "device",
        "threads",
        "seconds",
        "rounds",
        "quick",
        "in-cache",
    ):
        assert name in done.stdout
    for name in ("--peers", "--list", "--json", "--markdown", "--plot", "--show", "--render"):
        assert name in done.stdout
