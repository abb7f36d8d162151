"""Multiply-add peaks between the samples of contenders, for clocks change while a run lasts."""

from __future__ import annotations

from statistics import median

from bench.errors import Unavailable
from bench.limits import native
from bench.limits.cpu import threads_text

__all__ = ["PeakWatch"]

_SECONDS = 0.01  # of a burst


class PeakWatch:
    """A burst of multiply-adds in float32, and one in bfloat16, with every sample.

    Where the program that measures them cannot be built, there are none; the limits say so.
    """

    def __init__(self, threads: int) -> None:
        """Args: how many threads the bursts take."""
        self._threads = threads
        self._rates: dict[str, list[float]] = {}
        try:
            self._machine: native.MachineLimits | None = native.load()
        except Unavailable:
            self._machine = None

    def sample(self) -> None:
        """One burst of each."""
        if self._machine is None:
            return
        rates = {
            "fp32 FMA GFLOP/s": self._machine.float_gflops(self._threads, 1, _SECONDS),
            "bf16 GFLOP/s": self._machine.bf16_gflops(self._threads, 1, _SECONDS),
        }
        for name, rate in rates.items():
            if rate is not None:
                key = f"{name}, {threads_text(self._threads)}"
                self._rates.setdefault(key, []).append(rate)

    def peaks(self) -> dict[str, float]:
        """The median burst of each, under the names of the run's limits."""
        return {name: median(rates) for name, rates in self._rates.items()}
