"""What a run is asked to do, in plain values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bench.measure.interleave import Budget
from bench.workloads import Workload

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """Settings that all suites share.

    Attributes:
        workloads: the shapes, in order.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of the wall-clock pass; the other pass has one.
        quick: about a minute for everything: short samples, no compiled peers.
        peers: names or prefixes; None is every peer, an empty list none.
        cache_bytes: batches are rotated through at least this many bytes.
        max_call_seconds: a contender whose call would take longer is skipped.
        memory: measure the peak memory of each call.
        rounds: of whole training runs.
    """

    workloads: tuple[Workload, ...]
    device: str = "cpu"
    threads: int = 1
    quick: bool = False
    peers: list[str] | None = None
    cache_bytes: int = 64 << 20
    max_call_seconds: float = 90.0
    memory: bool = True
    rounds: int = 2
    budget: Budget = field(default_factory=Budget)

    @classmethod
    def made_quick(cls, options: Options) -> Options:
        """The same, in about a minute."""
        budget = Budget(0.002, 0.12, min_samples=3, max_samples=30, slow_seconds=0.5)
        return replace(options, quick=True, budget=budget, max_call_seconds=1.0, rounds=1)
