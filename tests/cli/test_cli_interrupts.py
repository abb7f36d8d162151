"""Ctrl-C when a command has said its last words."""

import os
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


# Encodes until somebody ends it.
ENDLESS = """
import sys, time
from spinlock.cli.main import main
from spinlock.tokens.codec import Codec
def encode(self, rows):
    print("encoding", file=sys.stderr, flush=True)
    while True:
        time.sleep(0.01)
Codec.encode = Codec.decode = encode
sys.exit(main())
"""


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_sigterm_leaves_nothing_unfinished(command: str, tmp_path: Path) -> None:
    made = train_small(tmp_path / "made")
    spinlock.encode_dataset(made.saved, made.data, tmp_path / "tokens.npz")
    source = made.data if command == "encode" else tmp_path / "tokens.npz"
    (tmp_path / "out.npz").write_text("mine")
    before = sorted(tmp_path.iterdir())
    words = [command, str(made.folder), str(source), "-o", "out.npz", "--overwrite"]
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, *words],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "encoding\n"
        assert list(tmp_path.glob(".writing-*"))
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    assert process.returncode == 143
    assert said == "stopped by SIGTERM; nothing unfinished is left: run the command again\n"
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "out.npz").read_text() == "mine"


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
