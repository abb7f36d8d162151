"""The limits of this CPU: multiply-add peaks, bandwidth per level, and torch's own matmul."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench.errors import Unavailable
from bench.limits import native
from bench.machine import CacheLevel, cache_levels, memory_bytes, usable_cpus
from bench.problems import thread_count

__all__ = ["cpu_limits", "threads_text"]

_FALLBACK = (
    CacheLevel("L1d", 32 << 10, 1, "assumed"),
    CacheLevel("L2", 256 << 10, 1, "assumed"),
    CacheLevel("L3", 32 << 20, 1 << 30, "assumed"),
)
_MEMORY_FACTOR = 4
_MOST_BYTES = 2 << 30
# Above this, torch's matmul contradicts the peak that was measured.
_DOUBTFUL = 1.03


@dataclass(frozen=True)
class _Effort:
    """How long to measure.

    Attributes:
        bursts: of each measurement.
        seconds: of a burst.
        matmul: rows and columns of torch's matrices.
        repeats: of the matmul.
    """

    bursts: int
    seconds: float
    matmul: int
    repeats: int


_FULL = _Effort(bursts=15, seconds=0.015, matmul=2048, repeats=7)
_QUICK = _Effort(bursts=7, seconds=0.010, matmul=1024, repeats=5)


def cpu_limits(threads: Sequence[int], quick: bool) -> tuple[dict[str, float], list[str]]:
    """Measures the limits at each number of threads.

    One thread is measured by its processor time, several by the wall time.  Peaks are the best
    burst, bandwidths the median one.  A cache level is read through a buffer of half its size, or
    copied between two of a quarter; where threads share a level, they share that size.  Copied
    bytes count twice, read and written.

    Args:
        threads: numbers of threads.
        quick: fewer and shorter bursts.

    Returns:
        Limits, name -> number in the unit its name says; and sentences on what could not be
        measured or was assumed.
    """
    effort = _QUICK if quick else _FULL
    levels = cache_levels()
    notes = _cache_notes(levels)
    limits: dict[str, float] = {}
    try:
        machine = native.load()
    except Unavailable as error:
        machine = None
        notes.append(f"multiply-add peaks and bandwidths were not measured: {error}")
    for count in threads:
        if machine is not None:
            limits |= _native_limits(machine, levels or list(_FALLBACK), count, effort)
        limits[f"torch sgemm GFLOP/s, {threads_text(count)}"] = _sgemm(count, effort)
    return limits, notes + _doubts(limits, threads)


def threads_text(threads: int) -> str:
    """The end of a limit's name.

    >>> threads_text(1), threads_text(2)
    ('1 thread', '2 threads')
    """
    return f"{threads} thread" + ("" if threads == 1 else "s")


def _native_limits(
    machine: native.MachineLimits, levels: list[CacheLevel], threads: int, effort: _Effort
) -> dict[str, float]:
    bursts, seconds, end = effort.bursts, effort.seconds, threads_text(threads)
    found: dict[str, float | None] = {
        f"fp32 FMA GFLOP/s, {end}": machine.float_gflops(threads, bursts, seconds),
        f"bf16 GFLOP/s, {end}": machine.bf16_gflops(threads, bursts, seconds),
    }
    for level in levels:
        size = _share_of(level, threads) // 2
        found[f"read GB/s from {level.name}, {end}"] = machine.read_rate(
            threads, size, bursts, seconds
        )
        found[f"copy GB/s from {level.name}, {end}"] = machine.copy_rate(
            threads, size // 2, bursts, seconds, past_caches=False
        )
    size = _memory_share(levels[-1], threads)
    found[f"read GB/s from memory, {end}"] = machine.read_rate(threads, size, bursts, seconds)
    ways = [
        machine.copy_rate(threads, size // 2, bursts, seconds, past_caches=past)
        for past in (False, True)
    ]
    found[f"copy GB/s from memory, {end}"] = max((rate for rate in ways if rate), default=None)
    return {name: value for name, value in found.items() if value is not None}


def _instances(level: CacheLevel) -> int:
    return max(1, len(usable_cpus()) // level.shared_by)


def _share_of(level: CacheLevel, threads: int) -> int:
    """Bytes of a level that each thread has, the threads spread over its instances."""
    return level.size // -(-threads // _instances(level))


def _memory_share(last: CacheLevel, threads: int) -> int:
    """Bytes per thread, so that all together are four times the last level's instances in use."""
    total = _MEMORY_FACTOR * last.size * min(threads, _instances(last))
    return min(total, _MOST_BYTES, memory_bytes() // 8 or _MOST_BYTES) // threads


def _cache_notes(levels: list[CacheLevel]) -> list[str]:
    if not levels:
        sizes = ", ".join(f"{level.name} {level.size >> 10} KiB" for level in _FALLBACK)
        return [f"the cache sizes are not known here; {sizes} were assumed"]
    notes = []
    if levels[0].source != "sysfs":
        notes.append(f"the cache sizes are those of {levels[0].source}, which may be sums over all")
    if _MEMORY_FACTOR * levels[-1].size > min(_MOST_BYTES, memory_bytes() // 8 or _MOST_BYTES):
        last = levels[-1].name
        notes.append(f"memory was measured with less than {_MEMORY_FACTOR} times the {last}")
    return notes


def _sgemm(threads: int, effort: _Effort) -> float:
    """GFLOP/s of the best of a few products of two square float32 matrices."""
    size = effort.matmul
    clock = time.thread_time if threads == 1 else time.perf_counter
    left, right = (torch.ones(size, size) * value for value in (0.5, 1e-3))
    out = torch.empty(size, size)
    best = float("inf")
    with thread_count(threads), torch.inference_mode():
        torch.mm(left, right, out=out)
        for _ in range(effort.repeats):
            start = clock()
            torch.mm(left, right, out=out)
            best = min(best, clock() - start)
    return 2e-9 * size**3 / max(best, 1e-9)


def _doubts(limits: dict[str, float], threads: Sequence[int]) -> list[str]:
    notes = []
    for count in threads:
        end = threads_text(count)
        peak, matmul = (limits.get(f"{n} GFLOP/s, {end}") for n in ("fp32 FMA", "torch sgemm"))
        if peak is not None and matmul is not None and matmul > _DOUBTFUL * peak:
            notes.append(
                f"torch's matmul reached {matmul:.0f} GFLOP/s on {end}, more than the measured "
                f"peak of {peak:.0f}: shares of that peak are not to be trusted"
            )
    return notes
