"""Ctrl-C when a command has said its last words."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


def test_a_call_from_python_leaves_ctrl_c_alone(run_command: RunCommand) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert run_command("--version").code == 0
    assert run_command("analyze", "--config", "none.yaml").code == 2
    assert signal.getsignal(signal.SIGINT) is before
