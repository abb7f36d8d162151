"""SIGTERM while a command works, and Ctrl-C when it has said its last words."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import spinlock
from token_models import train_small

RunCommand = Callable[..., Any]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")

# Something slow at exit, into which a second Ctrl-C would break.
SLOW_EXIT = """
import atexit, sys, time
from spinlock.cli.main import main
atexit.register(lambda: (print("exiting", file=sys.stderr, flush=True), time.sleep(0.5)))
sys.exit(main())
"""


@pytest.mark.parametrize("arguments", [["--version"], ["analyze", "--config", "none.yaml"]])
def test_ctrl_c_does_not_break_into_the_exit(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW_EXIT, *arguments]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line == "exiting\n":
                break
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
    assert process.returncode == (0 if arguments == ["--version"] else 2)


# Ends when somebody ends it: every file is written, and none has its name yet.
ENDLESS = """
import pathlib, sys, time
from spinlock.cli.main import main
real, place = pathlib.Path.replace, sys.argv.pop(1)
def replace(self, target):
    if pathlib.Path(target).name != place:
        return real(self, target)
    print("\\nall but in place", file=sys.stderr, flush=True)
    while True:
        time.sleep(0.01)
pathlib.Path.replace = replace
sys.exit(main())
"""
NOTHING_LEFT = "stopped by SIGTERM; nothing unfinished is left: run the command again\n"


def terminated(
    place: str, arguments: list[str], folder: Path, number: signal.Signals = signal.SIGTERM
) -> str:
    """What a command says on a signal before its files become ``place`` and others."""
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, place, *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        before = []
        for line in process.stderr:
            if line == "all but in place\n":
                break
            before.append(line)
        assert list(folder.rglob(f".writing-{place}-*")), "".join(before)
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == 128 + number
    return said


def files_in(folder: Path) -> dict[Path, bytes | None]:
    """Everything in a folder, and what files hold."""
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model in run, its data, and its tokens."""
    home = tmp_path_factory.mktemp("made")
    made = train_small(home)
    spinlock.encode_dataset(made.saved, made.data, home / "tokens.npz")
    return home


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("out.npz", ["encode", "run", "data.npz", "-o", "out.npz", "--overwrite"]),
        ("out.npz", ["decode", "run", "tokens.npz", "-o", "out.npz", "--overwrite"]),
        ("encoder.pt2", ["export", "run", "-o", "out", "--overwrite"]),
        ("codes.npz", ["export", "run", "-o", "codes.npz"]),
        ("out.html", ["diagnose", "run", "--html", "out.html", "--overwrite"]),
        ("errors.svg", ["diagnose", "run", "--figures", "new/out"]),
        ("out.svg", ["analyze", "--config", "x.yaml", "--figure", "out.svg", "--overwrite"]),
    ],
    ids=["encode", "decode", "export", "export-one", "page", "figures", "analyze"],
)
def test_sigterm_leaves_nothing_unfinished(
    place: str, words: list[str], made: Path, config_file: Path, tmp_path: Path
) -> None:
    shutil.copytree(made, config_file.parent, dirs_exist_ok=True)
    for name in ("out.npz", "out.html", "out.svg", "out/encoder.pt2", "out/errors.svg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = files_in(tmp_path)
    assert terminated(place, words, tmp_path).endswith(NOTHING_LEFT)
    assert files_in(tmp_path) == before


def test_a_lost_terminal_leaves_nothing_unfinished(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    before = files_in(tmp_path)
    words = ["encode", "run", "data.npz", "-o", "out.npz"]
    said = terminated("out.npz", words, tmp_path, signal.SIGHUP)
    assert said.endswith(NOTHING_LEFT.replace("SIGTERM", "SIGHUP"))
    assert files_in(tmp_path) == before


def test_sigterm_keeps_what_a_comparison_has(config_file: Path) -> None:
    folder = config_file.parent
    words = ["compare", "--config", "x.yaml", "--strategies", "uniform"]
    words += ["--peers", "pca_kmeans"]
    words += ["--seeds", "1", "--epochs", "1"]
    assert terminated("compare.json", words, folder).endswith(NOTHING_LEFT)
    out = folder / "comparisons" / "x"
    assert not (out / "compare.json").exists()
    said = terminated("compare.html", words, folder)
    assert said.endswith(
        "stopped by SIGTERM; 'comparisons/x/compare.json' is saved; to go on:\n"
        f"  spinlock {' '.join(words)}\n"
    )
    rows = json.loads((out / "compare.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["uniform", "pca_kmeans"]
    assert {path.name for path in out.iterdir()} == {".lock", "compare.json"}


def test_sigterm_is_as_before_after_a_command(run_command: RunCommand) -> None:
    for handler in (signal.SIG_IGN, signal.SIG_DFL):
        before = signal.signal(signal.SIGTERM, handler)
        try:
            assert run_command("encode", "nowhere", "x.npz", "-o", "t.npz").code == 1
            assert signal.getsignal(signal.SIGTERM) is handler
        finally:
            signal.signal(signal.SIGTERM, before)


def test_a_call_from_python_leaves_ctrl_c_alone(run_command: RunCommand) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert run_command("--version").code == 0
    assert run_command("analyze", "--config", "none.yaml").code == 2
    assert signal.getsignal(signal.SIGINT) is before
