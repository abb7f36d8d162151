"""Training steps as a CUDA graph: recorded once, then one launch each instead of some hundred."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from spinlock.errors import ConfigError
from spinlock.training.callbacks import Event, EventHandler

Losses = dict[str, Tensor]
Replay = Callable[[], Losses]
Capture = Callable[[Callable[[], Losses]], Replay]

# Real steps before the capture: kernels compile, handles open, the optimizer makes its state.
WARM_UP_STEPS = 3


class StepRunner:
    """Runs a step on rows of the training data, captured in a CUDA graph where that is asked for.

    The first steps run one operation at a time, for a graph can only hold what has been warmed up;
    then the step is recorded, and from there on replayed.  Both are the same kernels on the same
    values.  Everything that the step reads or changes must stay where it is in memory.

    Args:
        step: a batch ``[B, D]`` to its loss terms; changes the model in place.
        train: rows like those that will come, ``[N, D]``.
        batch_size: B.
        wanted: ``"auto"`` captures on a CUDA device and goes on without where it cannot; True
            requires it; False never does.
        on_event: is told whether a graph runs.
        capture: what records a call; None takes CUDA graphs.

    Raises:
        ConfigError: True without a CUDA device.
    """

    def __init__(
        self,
        step: Callable[[Tensor], Losses],
        train: Tensor,
        batch_size: int,
        *,
        wanted: Literal["auto"] | bool,
        on_event: EventHandler,
        capture: Capture | None = None,
    ) -> None:
        if wanted is True and capture is None and not train.is_cuda:
            raise ConfigError(
                f"training.cuda_graph: true needs a CUDA device, the run is on {train.device}; set "
                "it to auto, or device to cuda"
            )
        self._step, self._on_event = step, on_event
        self._required = wanted is True
        self._capture: Capture | None = None
        if wanted is not False and (train.is_cuda or capture is not None):
            self._stream = torch.cuda.Stream(train.device) if train.is_cuda else None  # type: ignore[no-untyped-call]
            self._capture = capture or self._captured
            self._batch = train.new_empty(batch_size, train.shape[1])
        self._replay: Replay | None = None
        self._warm = 0

    @property
    def captures(self) -> bool:
        """Whether steps are, or will be, replayed from a graph."""
        return self._capture is not None

    def __call__(self, train: Tensor, rows: Tensor) -> Losses:
        """One step on ``rows``, int64 ``[B]``, of ``train``; the next may overwrite the terms."""
        if self._capture is None:
            return self._step(train.index_select(0, rows))
        torch.index_select(train, 0, rows, out=self._batch)
        if self._replay is not None:
            return self._replay()
        if self._warm < WARM_UP_STEPS:
            self._warm += 1
            return self._aside(lambda: self._step(self._batch))
        try:
            self._replay = self._capture(lambda: self._step(self._batch))
        except RuntimeError as error:
            self._give_up(error)
            return self._step(self._batch)
        message = "training steps are replayed from a CUDA graph"
        self._on_event(Event("graph_captured", message))
        return self._replay()

    def _give_up(self, error: RuntimeError) -> None:
        reason = str(error).splitlines()[0]
        if self._required:
            raise ConfigError(
                f"training.cuda_graph: the step cannot be captured in a CUDA graph ({reason}); set "
                "it to auto or false"
            ) from error
        self._capture = None
        message = f"training steps run without a CUDA graph, for one cannot be captured: {reason}"
        self._on_event(Event("graph_not_captured", message, {"reason": reason}))

    def _aside(self, call: Replay) -> Losses:
        """Runs it on the stream that will be captured: autograd remembers streams."""
        if self._stream is None:
            return call()
        here = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            result = call()
        here.wait_stream(self._stream)
        return result

    def _captured(self, call: Callable[[], Losses]) -> Replay:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                losses = call()
        except RuntimeError:
            torch.cuda.synchronize()
            raise

        def replay() -> Losses:
            graph.replay()
            return losses

        return replay
