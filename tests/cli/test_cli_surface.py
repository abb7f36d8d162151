"""Help, version, imports: what the command line promises before it does anything."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spinlock

RunCommand = Callable[..., Any]

COMMANDS = (
    "train-vqvae", "analyze", "compare", "encode", "decode", "diagnose", "info", "export"
)  # fmt: skip


def spawn(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spinlock", *arguments], capture_output=True, text=True, check=False
    )


def test_version() -> None:
    ended = spawn("--version")
    assert (ended.returncode, ended.stdout) == (0, f"spinlock {spinlock.__version__}\n")


def test_help_names_the_commands_without_colours(run_command: RunCommand) -> None:
    ended = run_command("--help")
    assert ended.code == 0
    assert all(command in ended.out for command in COMMANDS)
    assert "\x1b" not in ended.out


def test_no_arguments_shows_the_help(run_command: RunCommand) -> None:
    ended = run_command()
    assert "train-vqvae" in ended.out + ended.err


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_needs_neither_torch_nor_scikit_learn(arguments: list[str]) -> None:
    code = (
        "import sys; from spinlock.cli.main import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'sklearn', 'scipy', 'h5py'} & sys.modules.keys();"
        "sys.exit(code or (f'imported {sorted(heavy)}' if heavy else 0))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_a_wrong_configuration_is_found_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("dataset_pth: x")
    code = (
        "import sys; from spinlock.cli.main import main; code = main(sys.argv[1:]);"
        "sys.exit(3 if {'torch', 'sklearn'} & sys.modules.keys() else code)"
    )
    command = [sys.executable, "-c", code, "train-vqvae", "--config", str(path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


HEAVY = (
    "torch", "torch._dynamo", "numpy", "scipy", "scipy.linalg", "sklearn", "pandas", "sympy",
    "matplotlib", "h5py", "pyarrow",
)  # fmt: skip


def loaded(*arguments: str, code: int = 0) -> set[str]:
    """Which of the heavy modules a command line has imported when it ends."""
    script = (
        "import sys; from spinlock.cli.main import main; code = main(sys.argv[2:]);"
        "print('loaded', *set(sys.argv[1].split()) & sys.modules.keys()); sys.exit(code)"
    )
    command = [sys.executable, "-c", script, " ".join(HEAVY), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    return set(ended.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["train-vqvae", "--help"]])
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    assert loaded(*arguments) == set()


def test_commands_load_what_they_use(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", left=rows[:, :4], right=rows[:, 4:])
    config, runs = tmp_path / "x.yaml", tmp_path / "runs"
    config.write_text(
        f"{{dataset_path: {tmp_path / 'rows.npz'}, training: {{num_epochs: 1, "
        f"category_assignment: families, checkpoint_dir: {runs}}}}}"
    )
    used = {"torch", "numpy"}
    trained = loaded("train-vqvae", "--config", str(config), "--quiet")
    assert trained == used, "of training"
    assert loaded("info", str(runs)) == used, "of info"
    tokens = str(tmp_path / "tokens.npz")
    encoded = loaded("encode", str(runs), str(tmp_path / "rows.npz"), "--output", tokens)
    assert encoded == used, "of encode"
    assert loaded("diagnose", str(runs)) == used, "of diagnose"
    wrong = ["train-vqvae", "--config", str(config), "--set", "training.num_epochs=-1"]
    assert loaded(*wrong, code=2) == {"numpy"}, "of a wrong configuration"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_documented(command: str, run_command: RunCommand) -> None:
    docs = Path(__file__).parents[2] / "docs"
    own = docs / "cli" / f"{command}.md"
    page = (own if own.exists() else docs / "cli.md").read_text(encoding="utf-8")
    shown = run_command(command, "--help").out
    flags = {word.rstrip(",") for word in shown.split() if word.startswith("--") and len(word) > 2}
    for flag in flags - {"--help"}:
        assert f"`{flag}" in page, flag


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train-vqvae"], "Missing option '--config'"),
        (["train-vqvae", "--config", "x", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["train-vqvae", "--config", "x", "--epoch", "3"], "No such option:? '?--epoch"),
        (["train"], "No such command 'train'"),
        (["analyze", "--config", "x", "surplus"], "surplus"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str, run_command: RunCommand) -> None:
    ended = run_command(*arguments)
    assert ended.code == 2
    assert re.search(says, ended.err)
    assert "Traceback" not in ended.err
