"""CUDA clocks: events around the calls, and replays of a captured graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from bench.errors import Unavailable

__all__ = ["EventClock", "GraphClock", "Graphs", "calls_per_graph", "captured"]

_GRAPH_SECONDS = 100e-6


class EventClock:
    """Seconds between two events on the current stream."""

    name = "events"

    def seconds(self, run: Callable[[int], object], first: int, count: int) -> float:
        """See bench.measure.interleave.Clock."""
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        stop = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        start.record()
        for i in range(first, first + count):
            run(i)
        stop.record()
        stop.synchronize()
        return float(start.elapsed_time(stop)) * 1e-3


class Graphs:
    """CUDA graphs of some consecutive calls each.

    Attributes:
        calls: per graph: a graph's own start, some 5 us, is that of the program that replays it.
    """

    def __init__(self, graphs: Sequence[torch.cuda.CUDAGraph], calls: int) -> None:
        self._graphs, self.calls = graphs, calls

    def __call__(self, i: int) -> None:
        """Replays the i-th graph, counted round and round."""
        self._graphs[i % len(self._graphs)].replay()


class GraphClock:
    """Seconds that ``count`` calls take within graphs, by events."""

    name = "graph"

    def seconds(self, run: Callable[[int], object], first: int, count: int) -> float:
        """See bench.measure.interleave.Clock; ``run`` is :class:`Graphs`."""
        calls = run.calls if isinstance(run, Graphs) else 1
        replays = -(-count // calls)
        return EventClock().seconds(run, first, replays) * count / (replays * calls)


def captured(run: Callable[[int], object], batches: int) -> Graphs:
    """At most 16 calls on different batches in graphs of about 100 us or one call.

    Raises:
        Unavailable: a run that cannot be captured (it waits for the host, say).
    """
    calls = min(batches, 16)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    try:
        with torch.cuda.stream(stream):
            for _ in range(3):
                run(0)
        torch.cuda.current_stream().wait_stream(stream)
        alone = Graphs([_graph(run, [0])], 1)
        EventClock().seconds(alone, 0, 1)
        each = calls_per_graph(EventClock().seconds(alone, 0, 4) / 4, calls)
        graphs = [_graph(run, range(i, i + each)) for i in range(0, calls - each + 1, each)]
    except RuntimeError as error:
        torch.cuda.synchronize()
        reason = str(error).splitlines()[0]
        raise Unavailable(f"cannot be captured in a CUDA graph: {reason}") from error
    return Graphs(graphs, each)


def calls_per_graph(seconds: float, most: int) -> int:
    """How many calls of so many seconds make a graph worth its own start.

    >>> calls_per_graph(10e-6, 16), calls_per_graph(60e-6, 16), calls_per_graph(0.002, 16)
    (10, 2, 1)
    """
    return max(1, min(most, math.ceil(_GRAPH_SECONDS / max(seconds, 1e-9))))


def _graph(run: Callable[[int], object], batches: Sequence[int]) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in batches:
            run(i)
    return graph
