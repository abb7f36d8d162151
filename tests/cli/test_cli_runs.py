"""Command lines from a configuration to files and tables, on a data set of a moment."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spinlock.config import load_config
from spinlock.report.plan_text import adaptive_compression_text
from spinlock.training.pipeline import analyze

RunCommand = Callable[..., Any]

BANNER = "ADAPTIVE COMPRESSION RATIO COMPUTATION"


def test_a_run_prints_plan_and_result_and_leaves_checkpoints(
    run_command: RunCommand, config_file: Path
) -> None:
    ended = run_command("train-vqvae", "--config", config_file, "--verbose")
    assert ended.code == 0, ended.err
    assert {"latest", "best", "epoch_0004"} <= {p.name for p in Path("run").iterdir()}
    plan = analyze(load_config(config_file)).plan
    assert ended.out.startswith(adaptive_compression_text(plan) + "\n\n")
    assert "compression plan: ratios auto (balanced)" in ended.out
    assert "reconstruction of 32 held-out rows, worst category first" in ended.out
    assert "checkpoint: run/epoch_0004" in ended.out
    assert "shape::5: constant" in ended.err
    assert "epoch 4/4" in ended.err
    assert "\x1b" not in ended.out + ended.err


def test_categories_are_listed_worst_first(run_command: RunCommand, config_file: Path) -> None:
    ended = run_command("train-vqvae", "--config", config_file)
    table = ended.out[ended.out.index("reconstruction of") :]
    errors = [float(e) for e in re.findall(r"│ (?:shape|colour) +│ +([0-9.]+) │", table)]
    assert len(errors) == 2
    assert errors == sorted(errors, reverse=True)
    metrics = json.loads(Path("run/epoch_0004/metrics.json").read_text())["metrics"]
    assert errors[0] == pytest.approx(metrics["worst_mse"], abs=6e-5)
    assert f"worst {metrics['worst_category']} {metrics['worst_mse']:.4f}" in ended.out


def test_given_ratios_have_no_published_block(run_command: RunCommand, config_file: Path) -> None:
    assignment = "model.compression_ratios=0.5:1.0"
    ended = run_command("analyze", "--config", config_file, "--set", assignment)
    assert ended.code == 0, ended.err
    assert BANNER not in ended.out
    assert "compression plan: ratios uniform" in ended.out


def test_a_quiet_run_gives_its_checkpoint(run_command: RunCommand, config_file: Path) -> None:
    ended = run_command("train-vqvae", "--config", config_file, "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "run/epoch_0004\n", "")


def test_the_configuration_can_be_quiet_and_a_flag_wins(
    run_command: RunCommand, config_file: Path
) -> None:
    quiet = ("--set", "logging.verbosity=quiet")
    assert run_command("train-vqvae", "--config", config_file, *quiet).out == "run/epoch_0004\n"
    assert BANNER in run_command("train-vqvae", "--config", config_file, *quiet, "-v").out


@pytest.mark.parametrize("command", [["train-vqvae", "--dry-run"], ["analyze"]])
def test_analysis_prints_the_plan_and_writes_nothing(
    command: list[str], run_command: RunCommand, config_file: Path
) -> None:
    before = sorted(config_file.parent.rglob("*"))
    ended = run_command(*command, "--config", config_file)
    assert ended.code == 0, ended.err
    assert "160 rows (128 to train on, 32 held out)" in ended.out
    assert BANNER in ended.out
    assert "compression plan" in ended.out
    assert sorted(config_file.parent.rglob("*")) == before


def test_analysis_as_json(run_command: RunCommand, config_file: Path) -> None:
    ended = run_command("analyze", "--config", config_file, "--json")
    document = json.loads(ended.out)
    assert document["data"]["rows"] == 160
    assert document["data"]["features"] == 9
    assert document["categories"]["colour"] == [f"colour::{i}" for i in range(4)]
    assert sum(map(len, document["categories"].values())) == 9
    prepared = analyze(load_config(config_file))
    assert document["plan"] == json.loads(json.dumps(prepared.plan.to_dict()))
    assert document["bits"] == prepared.plan.bits
    assert document["cleaning"] == json.loads(json.dumps(prepared.cleaning_report.to_dict()))
    assert "160 rows" in ended.err


def test_flags_are_keys_and_set_wins_over_them(
    run_command: RunCommand, config_file: Path, fake_train: Any
) -> None:
    fake_train.then = lambda *_, **__: SimpleNamespace(signal_name=None, checkpoint=Path("x"))
    ended = run_command(
        *("train-vqvae", "--config", config_file, "--quiet"),
        *("--input", "b.npz", "--output", "elsewhere", "--epochs", "7", "--batch-size", "9"),
        *("--learning-rate", "1e-4", "--device", "auto", "--seed", "11"),
        *("--set", "training.num_epochs=8", "--set", "model.decay=0.5", "--set", "model.decay=0.6"),
    )
    assert ended.code == 0, ended.err
    ((config, arguments),) = fake_train.calls
    assert config.dataset_path == "b.npz"
    assert config.device == "auto"
    assert config.random_seed == 11
    assert config.model.decay == 0.6
    training = config.training
    assert (training.checkpoint_dir, training.batch_size) == ("elsewhere", 9)
    assert (training.num_epochs, training.learning_rate) == (8, 1e-4)
    assert arguments["resume"] is None
    assert arguments["recompute_ratios"] is False


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--resume"], "latest"),
        (["--resume", "--seed", "3"], "latest"),
        (["--resume", "old/epoch_0003"], "old/epoch_0003"),
        (["--resume=old"], "old"),
    ],
)
def test_resume_with_and_without_a_folder(
    flags: list[str], expected: str, run_command: RunCommand, config_file: Path, fake_train: Any
) -> None:
    fake_train.then = lambda *_, **__: SimpleNamespace(signal_name=None, checkpoint=Path("x"))
    assert run_command("train-vqvae", "--config", config_file, "-q", *flags).code == 0
    assert fake_train.calls[0][1]["resume"] == expected


@pytest.mark.parametrize(
    "flags",
    [
        ["--output", "~/run", "--resume", "~/old"],
        ["--output=~/run", "--resume=~/old"],
        ["--set", "training.checkpoint_dir=~/run", "--resume=~/old"],
    ],
)
def test_a_tilde_in_a_flag_is_the_home_directory(
    flags: list[str],
    run_command: RunCommand,
    config_file: Path,
    fake_train: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(config_file.parent))
    fake_train.then = lambda *_, **__: SimpleNamespace(signal_name=None, checkpoint=Path("x"))
    ended = run_command("train-vqvae", "--config", "~/x.yaml", "-q", *flags)
    assert ended.code == 0, ended.err
    ((config, arguments),) = fake_train.calls
    assert config.training.checkpoint_dir == f"{config_file.parent}/run"
    assert arguments["resume"] == f"{config_file.parent}/old"


def test_a_resumed_run_ends_as_one_never_stopped(
    run_command: RunCommand, config_file: Path
) -> None:
    assert run_command("train-vqvae", "--config", config_file, "--output", "whole").code == 0
    assert run_command("train-vqvae", "--config", config_file).code == 0
    assert run_command("train-vqvae", "--config", config_file, "--resume").code == 0
    branch = ("--resume", "run/epoch_0002", "--output", "branch")
    ended = run_command("train-vqvae", "--config", config_file, *branch)
    assert ended.code == 0, ended.err
    weights = {
        Path(run, "epoch_0004", "model.safetensors").read_bytes()
        for run in ("whole", "run", "branch")
    }
    assert len(weights) == 1


def test_computed_ratios_are_reused_until_told_otherwise(
    run_command: RunCommand, config_file: Path
) -> None:
    assert run_command("train-vqvae", "--config", config_file).code == 0
    saved = Path("run/epoch_0004/config.yaml")
    again = run_command("analyze", "--config", saved, "--json")
    assert json.loads(again.out)["ratios_reused"] is True
    assert "note: compression ratios are those" in again.err
    anew = run_command("analyze", "--config", saved, "--json", "--recompute-ratios")
    assert json.loads(anew.out)["ratios_reused"] is False
    other = ("--set", "model.auto_compression_strategy=variance")
    refused = run_command("analyze", "--config", saved, *other)
    assert refused.code == 2
    assert "--recompute-ratios" in refused.err
    assert run_command("analyze", "--config", saved, *other, "--recompute-ratios").code == 0


def test_an_interrupted_run_says_how_to_go_on(
    run_command: RunCommand, config_file: Path, fake_train: Any
) -> None:
    def interrupted(_: Any, *, callbacks: Any, **__: Any) -> Any:
        callbacks[0].on_checkpoint(Path("run/epoch_0001"))
        return SimpleNamespace(signal_name="SIGINT", checkpoint=Path("run/epoch_0001"))

    fake_train.then = interrupted
    arguments = ("--epochs", "9", "--set", "model.compression_ratios=[1, 2]", "--resume", "old")
    ended = run_command("train-vqvae", "--config", config_file, *arguments)
    assert ended.code == 130
    assert ended.out == ""
    assert ended.err == (
        "interrupted; 'run/epoch_0001' is saved; to go on:\n"
        f"  spinlock train-vqvae --config {config_file} --epochs 9 "
        "--set 'model.compression_ratios=[1, 2]' --resume\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_its_advice_works(
    number: signal.Signals, code: int, run_command: RunCommand, config_file: Path
) -> None:
    command = [sys.executable, "-m", "spinlock", "train-vqvae", "--config", config_file.name]
    command += ["--epochs", "200", "--set", "logging.interval_seconds=0"]
    command += ["--set", "training.checkpoint_every_n_epochs=50"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 3/"):
                process.send_signal(number)
                break
        rest = process.stderr.read()
    assert process.returncode == code
    advice = rest.splitlines()[-1].split()
    assert advice[:2] == ["spinlock", "train-vqvae"]
    assert advice[-1] == "--resume"
    assert "Traceback" not in rest
    resumed = run_command(*advice[1:], "--quiet")
    assert (resumed.code, resumed.out) == (0, "run/epoch_0200\n")


def test_an_output_without_arrows_gets_escapes(
    run_command: RunCommand, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    ended = run_command("analyze", "--config", config_file, "--quiet")
    assert ended.code == 0, ended.err
    assert b"\\u2192 Ratios" in written.getvalue()


def test_the_curve_of_bits_is_a_table_a_figure_and_json(
    run_command: RunCommand, config_file: Path
) -> None:
    ended = run_command("analyze", "--config", config_file, "--curve")
    assert ended.code == 0, ended.err
    assert "how many bits do I need?" in ended.out
    assert "nothing was trained and nothing was written" in ended.err
    drawn = run_command("analyze", "--config", config_file, "--figure", "x.svg", "--json")
    assert drawn.code == 0, drawn.err
    curve = json.loads(drawn.out)["curve"]
    assert [p["bits"] for p in curve["allocated"]] == sorted(p["bits"] for p in curve["allocated"])
    assert Path("x.svg").read_text().startswith("<?xml")
    again = run_command("analyze", "--config", config_file, "--figure", "x.svg", "-q")
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x.pdf", "must end in .svg or .png"),
        ("missing/x.svg", "the folder 'missing' does not exist"),
        ("other.png", "exists and is no report of spinlock"),
    ],
)
def test_figures_that_cannot_be_written_are_refused_first(
    name: str, says: str, run_command: RunCommand, config_file: Path
) -> None:
    Path("other.png").write_text("a picture of my own")
    ended = run_command("analyze", "--config", config_file, "--figure", name)
    assert ended.code == 2
    assert says in ended.err
    assert ended.out == ""
    forced = run_command(
        "analyze", "--config", config_file, "--figure", "other.png", "--overwrite", "-q"
    )
    assert forced.code == 0, forced.err


def test_a_run_with_rate_distortion_prints_what_it_expects(
    run_command: RunCommand, config_file: Path
) -> None:
    chosen = ("--set", "model.auto_compression_strategy=rate_distortion")
    ended = run_command("train-vqvae", "--config", config_file, *chosen)
    assert ended.code == 0, ended.err
    assert "predicted" in ended.out
    assert "note: " in ended.err
    assert "too few to measure" in ended.out + ended.err
    told = run_command("info", "run")
    assert told.code == 0
    assert "codebook sizes by allocation" in " ".join(told.out.split())
