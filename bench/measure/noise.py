"""What disturbed a run: other processes, stolen time, preemption, a changing clock.

Reads Linux' /proc between the rounds of a measurement and, once per round, times a fixed piece of
arithmetic that needs nothing but a core.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType

from bench.machine import usable_cpus

__all__ = ["NoiseWatch", "Sentinel", "sentinel_sentences"]

# Counters have a resolution of 10 ms: shorter rounds are watched together.
WINDOW_SECONDS = 0.5
# Other processes' load in one window that is worth a word; below it, counting is too coarse.
BUSY_CORES = 0.2
# A sentence needs this share of the rounds, or nothing happened that a median would notice.
ROUNDS_SHARE = 0.05
STOLEN_CORES = 0.03
SWITCHES_PER_SECOND = 200.0
# Of the sentinel: its medians over the first and the last third, its slow samples, its waiting.
DRIFT = 0.05
SLOW = 0.10
SLOW_SHARE = 0.15
WAITING_SHARE = 0.05
FEWEST_SAMPLES = 6

_BLOCK = bytes(4096)
_SENTINEL_SECONDS = 1e-3


class Sentinel:
    """A fixed amount of arithmetic of about a millisecond: SHA-256 of a block that fits L1."""

    def __init__(self) -> None:
        self._rounds = 1
        while self._timed()[1] < _SENTINEL_SECONDS / 2 and self._rounds < 1 << 20:
            self._rounds *= 2
        took = min(self._timed()[1] for _ in range(3))
        self._rounds = max(1, round(self._rounds * _SENTINEL_SECONDS / max(took, 1e-6)))
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def sample(self) -> None:
        """Does the work once; its processor and wall seconds go to ``cpu`` and ``wall``."""
        cpu, wall = self._timed()
        self.cpu.append(cpu)
        self.wall.append(wall)

    def _timed(self) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.thread_time()
        digest = hashlib.sha256()
        for _ in range(self._rounds):
            digest.update(_BLOCK)
        digest.digest()
        return time.thread_time() - cpu, time.perf_counter() - wall


def sentinel_sentences(cpu: Sequence[float], wall: Sequence[float]) -> list[str]:
    """What the sentinel's times say of the run; empty where they were steady.

    Args:
        cpu: processor seconds, one per round.
        wall: wall seconds of the same.

    >>> sentinel_sentences([1e-3] * 9, [1e-3] * 9)
    []
    >>> sentinel_sentences([1.0e-3] * 6 + [1.2e-3] * 3, [1.2e-3] * 9)[0][:43]
    'fixed arithmetic took 20% longer at the end'
    """
    if len(cpu) < FEWEST_SAMPLES or min(cpu) <= 0.0:  # a clock too coarse for it
        return []
    sentences = []
    third = len(cpu) // 3
    first, last = median(cpu[:third]), median(cpu[-third:])
    least = sorted(cpu)[len(cpu) // 10]
    slow = sum(value > (1.0 + SLOW) * least for value in cpu)
    cause = "the clock changed, or something ran beside it on the same core"
    if abs(last / first - 1.0) > DRIFT:
        change, word = (
            (last / first - 1.0, "longer") if last > first else (1 - last / first, "less")
        )
        sentences.append(
            f"fixed arithmetic took {100 * change:.0f}% {word} at the end than at the start of "
            f"the run: {cause}"
        )
    elif slow > SLOW_SHARE * len(cpu):
        sentences.append(
            f"fixed arithmetic took over {100 * SLOW:.0f}% longer than its best in {slow} of "
            f"{len(cpu)} rounds: {cause}"
        )
    waiting = 1.0 - sum(cpu) / max(sum(wall), 1e-12)
    if waiting > WAITING_SHARE:
        sentences.append(
            f"fixed arithmetic waited for a core {100 * waiting:.0f}% of its time: wall times "
            "are not to be trusted"
        )
    return sentences


@dataclass(frozen=True)
class _Counters:
    """Seconds since some start: of all usable CPUs, and of this process and its children."""

    at: float
    busy: float
    stolen: float
    own: float


@dataclass(frozen=True)
class _Window:
    """Cores that were kept busy over some rounds."""

    rounds: int
    others: float
    stolen: float


class NoiseWatch:
    """Watches for noise while its ``with`` block runs.

    Args:
        threads: the most threads that the run uses; default, all usable cores.
        proc: the /proc to read.
        cpus: the CPUs to count; default, those that this process may use.
        clock: wall seconds.
    """

    def __init__(
        self,
        threads: int | None = None,
        *,
        proc: Path = Path("/proc"),
        cpus: Collection[int] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._proc = proc
        self._cpus = usable_cpus() if cpus is None else set(cpus)
        self._threads = len(self._cpus) if threads is None else threads
        self._clock = clock
        self._sentinel = Sentinel()
        self._windows: list[_Window] = []
        self._pending = 0
        self._last: _Counters | None = None
        self._start = 0.0
        self._switches = 0
        self._watched = False

    def __enter__(self) -> NoiseWatch:
        """Starts watching."""
        self._start = self._clock()
        self._switches = _involuntary_switches()
        self._last = self._counters()
        self._watched = self._last is not None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Takes what is left of the last window."""
        self._close_window(WINDOW_SECONDS)

    def sample(self) -> None:
        """To be called once per round, outside of what is timed; takes about a millisecond."""
        self._pending += 1
        self._sentinel.sample()
        self._close_window(WINDOW_SECONDS)

    def sentences(self) -> list[str]:
        """What disturbed the rounds so far, a sentence each; empty where nothing did."""
        self._close_window(0.1)
        found = self._load_sentences() if self._watched else [_UNWATCHED]
        return found + sentinel_sentences(self._sentinel.cpu, self._sentinel.wall)

    def _close_window(self, least_seconds: float) -> None:
        last = self._last
        if last is None or not self._pending or self._clock() - last.at < least_seconds:
            return
        now = self._counters()
        if now is None:
            return
        seconds = now.at - last.at
        others = (now.busy - last.busy - (now.own - last.own)) / seconds
        stolen = (now.stolen - last.stolen) / seconds
        self._windows.append(_Window(self._pending, max(0.0, others), max(0.0, stolen)))
        self._last, self._pending = now, 0

    def _load_sentences(self) -> list[str]:
        cores = len(self._cpus)
        rounds = sum(window.rounds for window in self._windows)
        sentences = []
        loaded = [window for window in self._windows if window.others > BUSY_CORES]
        if text := _counted(loaded, rounds, [window.others for window in loaded]):
            busy, count = text
            crowded = self._threads + busy > cores + BUSY_CORES / 2
            effect = (
                f"wall times at {self._threads} thread{'s' * (self._threads != 1)} are not to be "
                "trusted"
                if crowded
                else "caches and memory bandwidth were shared"
            )
            sentences.append(
                f"another process kept {busy:.1f} of {cores} cores busy in {count}: {effect}"
            )
        robbed = [window for window in self._windows if window.stolen > STOLEN_CORES]
        if text := _counted(robbed, rounds, [window.stolen for window in robbed]):
            stolen, count = text
            sentences.append(
                f"the hypervisor gave {stolen:.2f} of {cores} cores to others in {count}: wall "
                "times are not to be trusted"
            )
        switches = _involuntary_switches() - self._switches
        rate = switches / max(self._clock() - self._start, 1e-9)
        if rounds and rate > SWITCHES_PER_SECOND:
            sentences.append(
                f"the run was taken off its cores {rate:.0f} times a second: more threads than "
                "cores, or other processes"
            )
        return sentences

    def _counters(self) -> _Counters | None:
        """None where /proc cannot be read."""
        try:
            lines = (self._proc / "stat").read_text(encoding="ascii").splitlines()
            busy = stolen = 0
            for line in lines:
                name, *fields = line.split()
                if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in self._cpus:
                    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, fields)
                    busy += user + nice + system + irq + softirq
                    stolen += steal
            own = _family_ticks(self._proc, "self")
        except (OSError, ValueError):
            return None
        tick = 1.0 / _ticks_per_second()
        return _Counters(self._clock(), busy * tick, stolen * tick, own * tick)


_UNWATCHED = (
    "noise could not be watched: this system has no /proc/stat, so other processes' load is unknown"
)


def _counted(windows: list[_Window], rounds: int, values: list[float]) -> tuple[float, str] | None:
    """(mean value over the windows' rounds, "n of m rounds"); None where they are too few."""
    count = sum(window.rounds for window in windows)
    if not count or count < ROUNDS_SHARE * rounds:
        return None
    weighted = zip(windows, values, strict=True)
    mean = sum(window.rounds * value for window, value in weighted) / count
    return mean, f"{count} of {rounds} rounds"


def _family_ticks(proc: Path, process: str) -> int:
    """Processor time of a process, of those of its children that it waited for, and of the living.

    Raises:
        OSError, ValueError: no such process.
    """
    text = (proc / process / "stat").read_text(encoding="utf-8", errors="replace")
    ticks = sum(int(value) for value in text.rpartition(")")[2].split()[11:15])
    for listed in (proc / process / "task").glob("*/children"):
        try:
            for child in listed.read_text(encoding="ascii").split():
                ticks += _family_ticks(proc, child)
        except (OSError, ValueError):  # it ended meanwhile; its time is the parent's by now
            continue
    return ticks


def _ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def _involuntary_switches() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
