"""The best plain-torch loop over codebooks: addmm, min, index_select, index_add_.

Scores are ``|c|^2 / 2 - x.c``.  On a CPU rows go through in blocks whose scores stay in a cache,
and ``min`` finds indices faster than ``argmin`` does; a lookup has its norms and transposed codes
ready, a train step makes them anew because the codes have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from bench.peers.codebook_loop import needs_compiler, needs_device
from bench.peers.contender import (
    EMA,
    Call,
    Contender,
    Contract,
    Outcome,
    backward_seed,
    index_matrix,
)
from bench.problems import Problem

__all__ = [
    "Book",
    "CompiledLoop",
    "HalfLoop",
    "Tf32Loop",
    "TorchLoop",
    "codebook_arrays",
    "rows_outcome",
]

# Scores held at a time: 1 MiB of float32 on a CPU, 1 GiB on a GPU.
_BLOCK_ELEMENTS = {"cpu": 1 << 18}
_GPU_BLOCK_ELEMENTS = 1 << 28
_LEAST_ROWS = 16

Found = tuple[list[Tensor], list[Tensor], list[Tensor]]
"""Per quantizer: indices [B], quantized [B, D_q], commitment []."""


class Book:
    """One codebook and its moving averages, on a copy of the problem's."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes.clone()
        self.counts = codes.new_ones(len(codes))
        self.sums = codes.clone()


class TorchLoop(Contender):
    """Eager float32."""

    name: ClassVar[str] = "torch loop"
    dtype: ClassVar[torch.dtype] = torch.float32

    def check_available(self, device: str) -> None:
        """Always."""
        del device

    def lookup(self, problem: Problem) -> Call:
        """See Contender."""
        books = [prepared(codes, self.dtype) for codes in problem.codebooks]
        looked_up, batches = self.made(_lookup), problem.parts

        @torch.no_grad()
        def run(i: int) -> list[Tensor]:
            found: list[Tensor] = looked_up(batches[i % len(batches)], books)
            return found

        return Call(run, lambda found: Outcome(index_matrix(found)))

    def train_step(self, problem: Problem) -> Call:
        """See Contender."""
        books = [Book(codes) for codes in problem.codebooks]
        states = [(book.codes, book.counts, book.sums) for book in books]
        stepped, batches = self.made(_step), problem.parts

        @torch.no_grad()
        def run(i: int) -> Found:
            found: Found = stepped(batches[i % len(batches)], states, self.dtype, self.ema)
            return found

        return Call(run, lambda found: rows_outcome(found, books))

    def backward(self, problem: Problem) -> Call:
        """See Contender."""
        books = [Book(codes) for codes in problem.codebooks]
        states = [(book.codes, book.counts, book.sums) for book in books]
        widths = list(problem.workload.dims)
        seeds = [
            [part.contiguous() for part in torch.split(backward_seed(problem, i), widths, dim=1)]
            for i in range(len(problem.batches))
        ]
        stepped, updated = self.made(_differentiable_step), self.made(_update_all)
        batches = problem.parts

        def run(i: int) -> tuple[Found, tuple[Tensor, ...]]:
            i %= len(seeds)
            leaves = [part.detach().requires_grad_() for part in batches[i]]
            found: Found = stepped(leaves, [book.codes for book in books], self.dtype)
            mean = torch.stack(found[2]).mean()
            gradients = torch.autograd.grad([*found[1], mean], leaves, [*seeds[i], None])
            # Last, for a compiled backward pass gathers the chosen codes anew.
            with torch.no_grad():
                updated(batches[i], found[0], states, self.ema)
            return found, gradients

        def outcome(result: tuple[Found, tuple[Tensor, ...]]) -> Outcome:
            found, gradients = result
            return rows_outcome(found, books, gradients)

        return Call(run, outcome)

    def made(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as this contender runs it."""
        return function


class CompiledLoop(TorchLoop):
    """The same under torch.compile: one graph for all codebooks."""

    name: ClassVar[str] = "torch loop, compiled"
    compiles: ClassVar[bool] = True

    def check_available(self, device: str) -> None:
        """Needs a compiler."""
        needs_compiler(device)

    def made(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compiled for these shapes, for any number of threads."""
        # A code object of its own: graphs are cached per code object, a few shapes at most.
        own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
        compiled: Callable[..., Any] = torch.compile(
            own, dynamic=False, fullgraph=True, options={"cpp.dynamic_threads": True}
        )
        return compiled


class Tf32Loop(TorchLoop):
    """Products of float32 matrices rounded to tf32."""

    name: ClassVar[str] = "torch loop, tf32"
    # Both factors have 11 bits: each product is off by at most 2^-10 |x| |c|, and two compete.
    contract: ClassVar[Contract] = Contract(excess=2e-3)

    def check_available(self, device: str) -> None:
        """A CUDA device."""
        needs_device(device, "cuda")

    def made(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """With tf32 allowed during the call."""

        def allowed(*arguments: Any) -> Any:
            with _tf32():
                return function(*arguments)

        return allowed


class HalfLoop(TorchLoop):
    """Scores in float16; rows are converted within the call."""

    name: ClassVar[str] = "torch loop, fp16"
    dtype: ClassVar[torch.dtype] = torch.float16
    # Scores have 11 bits as well.
    contract: ClassVar[Contract] = Contract(excess=5e-3)

    def check_available(self, device: str) -> None:
        """A CUDA device: CPUs emulate float16."""
        needs_device(device, "cuda")


def prepared(codes: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Codes [K, D] -> (half their squared norms [K], codes transposed [D, K]) for ``nearest``."""
    norms = codes.square().sum(dim=1).mul_(0.5)
    return norms.to(dtype), codes.t().to(dtype)


def nearest(rows: Tensor, norms: Tensor, columns: Tensor) -> Tensor:
    """int64 [B] of rows [B, D]."""
    limit = _BLOCK_ELEMENTS.get(rows.device.type, _GPU_BLOCK_ELEMENTS)
    block = max(_LEAST_ROWS, limit // len(norms))
    if block >= len(rows):
        return _nearest(rows, norms, columns)
    blocks = [_nearest(part, norms, columns) for part in torch.split(rows, block)]
    return torch.cat(blocks)


def _nearest(rows: Tensor, norms: Tensor, columns: Tensor) -> Tensor:
    scores = torch.addmm(norms, rows.to(norms.dtype), columns, alpha=-1.0)
    return scores.min(dim=1).indices if scores.device.type == "cpu" else scores.argmin(dim=1)


def _lookup(parts: Sequence[Tensor], books: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    return [nearest(part, *book) for part, book in zip(parts, books, strict=True)]


def _step(
    parts: Sequence[Tensor],
    states: Sequence[tuple[Tensor, Tensor, Tensor]],
    dtype: torch.dtype,
    ema: EMA,
) -> Found:
    found: Found = ([], [], [])
    for part, (codes, counts, sums) in zip(parts, states, strict=True):
        indices = nearest(part, *prepared(codes, dtype))
        quantized = codes.index_select(0, indices)
        for column, value in zip(
            found, (indices, quantized, mse_loss(part, quantized)), strict=True
        ):
            column.append(value)
        _update(part, indices, codes, counts, sums, ema)
    return found


def _differentiable_step(
    parts: Sequence[Tensor], codebooks: Sequence[Tensor], dtype: torch.dtype
) -> Found:
    """Without the update, which has to wait for the backward pass."""
    found: Found = ([], [], [])
    for part, codes in zip(parts, codebooks, strict=True):
        rows = part.detach()
        indices = nearest(rows, *prepared(codes, dtype))
        chosen = codes.index_select(0, indices)
        quantized = part + (chosen - rows)
        for column, value in zip(found, (indices, quantized, mse_loss(part, chosen)), strict=True):
            column.append(value)
    return found


def _update_all(
    parts: Sequence[Tensor],
    indices: Sequence[Tensor],
    states: Sequence[tuple[Tensor, Tensor, Tensor]],
    ema: EMA,
) -> None:
    for part, chosen, state in zip(parts, indices, states, strict=True):
        _update(part, chosen, *state, ema)


def _update(
    rows: Tensor, indices: Tensor, codes: Tensor, counts: Tensor, sums: Tensor, ema: EMA
) -> None:
    """EMA in place; the averages are weighted sums, so that no batch statistics are held."""
    rate = 1.0 - ema.decay
    counts.mul_(ema.decay).index_add_(0, indices, counts.new_ones(len(rows)), alpha=rate)
    sums.mul_(ema.decay).index_add_(0, indices, rows, alpha=rate)
    total = counts.sum()
    smoothed = (counts + ema.epsilon) * (total / (total + len(counts) * ema.epsilon))
    codes.copy_(sums / smoothed[:, None])


def rows_outcome(
    found: Found, books: Sequence[Book], gradients: Sequence[Tensor] | None = None
) -> Outcome:
    """The outcome of a loop's lists."""
    indices, quantized, commitment = found
    return Outcome(
        index_matrix(indices),
        torch.cat(list(quantized), dim=1).detach().float().cpu().numpy(),
        torch.stack(list(commitment)).detach().double().cpu().numpy(),
        codebook_arrays([book.codes for book in books]),
        None if gradients is None else torch.cat(list(gradients), dim=1).float().cpu().numpy(),
    )


def codebook_arrays(codebooks: Sequence[Tensor]) -> list[Any]:
    """Copies of codebooks as they stand, [K_q, D_q] float32 each."""
    return [codes.detach().float().cpu().numpy().copy() for codes in codebooks]


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
