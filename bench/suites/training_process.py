"""One contender of the training suite as a process: its report, its clocks and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.peers.whole_run import WholeRun

__all__ = ["Failed", "Process", "launch"]

_ROOT = Path(__file__).parents[2]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Failed(Exception):
    """A process that ended with an error; the last line that it wrote."""


@dataclass
class Process:
    """A process that has ended.

    Attributes:
        output: what it printed.
        started: ``time.monotonic()`` just before it was started.
        wall, cpu: seconds from there to its end, and of all its threads.
        max_resident: ``ru_maxrss`` in bytes, which is at least this process' own.
    """

    output: str
    started: float
    wall: float
    cpu: float
    max_resident: int

    @cached_property
    def run(self) -> WholeRun:
        """Its report, the last line that it printed."""
        return WholeRun.from_json(self.output.splitlines()[-1])

    @property
    def peak_bytes(self) -> int:
        """The most memory that was resident: its own figure, else that of ``os.wait4``."""
        return self.run.peak_bytes or self.max_resident


def launch(module: str, arguments: Sequence[str], threads: int) -> Process:
    """Runs ``python -m module`` to its end, its numeric libraries on ``threads`` threads.

    Raises:
        Failed: another exit code than 0.
    """
    environment = os.environ | dict.fromkeys(_THREADS, str(threads))
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started, before = time.monotonic(), time.perf_counter()
        process = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=out, stderr=err)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall = time.perf_counter() - before
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", errors="replace").strip())
    if process.returncode != 0:
        lines = texts[1].splitlines() or ["it said nothing"]
        raise Failed(f"exit code {process.returncode}: {lines[-1]}")
    scale = 1 if sys.platform == "darwin" else 1024
    cpu = usage.ru_utime + usage.ru_stime
    return Process(texts[0], started, wall, cpu, usage.ru_maxrss * scale)
