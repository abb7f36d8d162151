"""CUDA clocks: events around the calls, and replays of a captured graph."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bench.errors import Unavailable

__all__ = ["EventClock", "captured"]


class EventClock:
    """Seconds between two events on the current stream.

    Attributes:
        name: ``events``, or ``graph`` for runs that :func:`captured` made.
    """

    def __init__(self, name: str = "events") -> None:
        self.name = name

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


def captured(run: Callable[[int], object], batches: int) -> Callable[[int], object]:
    """One graph per batch, replayed; at most 16, for each keeps its memory.

    Raises:
        Unavailable: a run that cannot be captured (it waits for the host, say).
    """
    graphs = []
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    try:
        with torch.cuda.stream(stream):
            for _ in range(3):
                run(0)
        torch.cuda.current_stream().wait_stream(stream)
        for i in range(min(batches, 16)):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                run(i)
            graphs.append(graph)
    except RuntimeError as error:
        torch.cuda.synchronize()
        reason = str(error).splitlines()[0]
        raise Unavailable(f"cannot be captured in a CUDA graph: {reason}") from error
    return lambda i: graphs[i % len(graphs)].replay()
