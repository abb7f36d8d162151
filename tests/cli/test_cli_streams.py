"""Runs whose readers go away, or whose output cannot be written."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spinlock.cli.streams import Outlet
from spinlock.cli.terminal import Terminal

RunCommand = Callable[..., Any]

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


class Broken(io.StringIO):
    """Takes so many writes and then fails."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes

    def write(self, text: str) -> int:
        if self.left == 0:
            raise BrokenPipeError(32, "Broken pipe")
        self.left -= 1
        return super().write(text)


def test_an_outlet_gives_up_at_the_first_failure() -> None:
    stream = Broken(1)
    outlet = Outlet(stream)
    assert [outlet.write(text) for text in ("one", "two", "three")] == [3, 3, 5]
    stream.left = 1
    outlet.write("four")
    outlet.flush()
    assert stream.getvalue() == "one"
    assert isinstance(outlet.lost, BrokenPipeError)


def test_the_end_of_an_outlet_is_not_that_of_its_stream() -> None:
    stream = io.StringIO()
    Outlet(stream).close()
    assert not stream.closed
    late = Outlet(stream)
    stream.close()
    late.close()  # as Python does when nobody holds it any more


def start(config: Path, *flags: str, **streams: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "spinlock", "train-vqvae", "--config", config.name, *flags]
    command += ["--set", "logging.interval_seconds=0"]
    return subprocess.Popen(command, cwd=config.parent, text=True, **streams)


def test_a_run_survives_the_reader_of_its_progress(config_file: Path) -> None:
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with start(config_file, "--epochs", "200", **streams) as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        process.stderr.close()
    assert process.returncode == 0
    assert (config_file.parent / "run/epoch_0200").is_dir()


def test_a_run_survives_the_reader_of_its_plan(config_file: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with start(config_file, stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        assert process.stderr is not None
        said = process.stderr.read().splitlines()
    assert process.returncode == 1
    assert any(line.startswith("epoch 4/4") for line in said)
    assert said[-1] == (
        "error: cannot write to standard output: Broken pipe; 'run/epoch_0004' is saved"
    )


@needs_full
def test_full_streams_do_not_end_a_run(config_file: Path) -> None:
    with (
        Path("/dev/full").open("w") as full,
        start(config_file, stdout=full, stderr=full) as process,
    ):
        pass
    assert process.returncode == 1
    assert (config_file.parent / "run/epoch_0004").is_dir()


def test_an_analysis_ends_without_a_word_when_its_reader_has_left(
    run_command: RunCommand, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(1))
    ended = run_command("analyze", "--config", config_file, "--quiet")
    assert (ended.code, ended.err) == (1, "")


def test_a_result_that_got_out_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal.open("normal")
    terminal.result("x")
    terminal.finish()
    assert capsys.readouterr().out == "x\n"
