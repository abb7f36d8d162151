"""Which clock a table reads first, and how many times faster each of ours is than each peer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bench.record import Row, Timing
from bench.render import units

__all__ = [
    "Clock",
    "cases",
    "clocks",
    "is_own",
    "ratio_lines",
    "ratios_of",
    "speedups",
    "timing_on",
]

# Thread CPU time first: the clock that a busy neighbour disturbs least.
_ORDER = ("cpu", "events", "wall", "graph")
_NAMES = {"cpu": "CPU time", "wall": "wall", "events": "CUDA\nevents", "graph": "CUDA\ngraph"}


class Clock(NamedTuple):
    """A clock and the threads that were allowed while it ran."""

    kind: str
    threads: int

    @property
    def name(self) -> str:
        """As a column's header, in two lines."""
        head = _NAMES.get(self.kind, self.kind)
        if self.kind not in ("cpu", "wall"):
            return head
        return f"{head},\n{self.threads} thread{'s' * (self.threads > 1)}"


def cases(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """(suite, workload) -> its rows, as measured."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.suite, row.workload), []).append(row)
    return found


def is_own(contender: str) -> bool:
    """Whether it is one of spinlock's."""
    return contender.startswith("spinlock")


def timing_on(row: Row, clock: Clock) -> Timing | None:
    """The row's timing on that clock with as many threads."""
    return next((t for t in row.timings if Clock(t.clock, t.threads) == clock), None)


def clocks(done: Sequence[Row]) -> list[Clock]:
    """The clocks that rows were timed on; the first one is that which ratios are made on."""
    found = dict.fromkeys(Clock(t.clock, t.threads) for row in done for t in row.timings)
    known = (*_ORDER, *(clock.kind for clock in found if clock.kind not in _ORDER))
    return sorted(found, key=lambda clock: (known.index(clock.kind), clock.threads))


def speedups(row: Row, rows: Sequence[Row], clock: Clock) -> dict[str, float]:
    """Peer -> how many times faster ``row`` is, closest first; of what passed the gate."""
    mine = timing_on(row, clock)
    found: dict[str, float] = {}
    if row.status != "ok" or mine is None or not mine.median:
        return found
    for peer in rows:
        theirs = timing_on(peer, clock)
        if peer.status == "ok" and not is_own(peer.contender) and theirs is not None:
            found[peer.contender] = mine.speedup.get(peer.contender, theirs.median / mine.median)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def ratios_of(pairs: dict[str, float]) -> str:
    """``2.3x torch loop, 0.62x faiss (slower)``, in that order."""
    return ", ".join(
        f"{units.ratio(times)} {peer}{' (slower)' if times < 0.995 else ''}"
        for peer, times in pairs.items()
    )


def ratio_lines(rows: Sequence[Row]) -> list[str]:
    """One sentence per own contender that was timed beside a peer, on the first clock."""
    found = clocks([row for row in rows if row.status == "ok"])
    if not found:
        return []
    own = [row for row in rows if is_own(row.contender)]
    pairs = [(row.contender, speedups(row, rows, found[0])) for row in own]
    return [f"{name}: {ratios_of(times)}" for name, times in pairs if times]
