"""The data of a workload: codebooks, and batches that are rotated past the caches.

Kinds of data, all float32, rows and codes alike:

| kind | |
|---|---|
| ``mean 0`` | standard normal |
| ``mean 10``, ``mean 1000`` | the same, moved |
| ``bimodal 100``, ``bimodal 1000`` | two clusters at plus and minus that distance |
| ``duplicates`` | a third as many distinct codes; half of the rows equal a code |
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bench.workloads import Workload

__all__ = ["KINDS", "Problem", "make_problem", "thread_count"]

KINDS = ("mean 0", "mean 10", "mean 1000", "bimodal 100", "bimodal 1000", "duplicates")
_MAX_BATCHES = 256
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Problem:
    """Codebooks and batches of one workload on one device.

    Attributes:
        workload: the shape.
        codebooks: float32 [K_q, D_q], one per quantizer.
        batches: float32 [B, sum D_q], one per data set.
        kind: the data's kind.
    """

    workload: Workload
    codebooks: list[Tensor]
    batches: list[Tensor]
    kind: str = "mean 0"

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.codebooks[0].device

    @cached_property
    def parts(self) -> list[list[Tensor]]:
        """Per batch, contiguous [B, D_q] per quantizer: what a loop over codebooks likes best."""
        widths = list(self.workload.dims)
        return [
            [p.contiguous() for p in torch.split(batch, widths, dim=1)] for batch in self.batches
        ]


def make_problem(
    workload: Workload,
    device: str = "cpu",
    *,
    kind: str = "mean 0",
    past_bytes: int = 0,
    seed: int = 0,
) -> Problem:
    """Fresh data of one kind.

    Args:
        workload: the shape.
        device: where to put it.
        kind: one of KINDS.
        past_bytes: as many batches as hold this many bytes together, so that none of them is
            still in a cache of that size when its turn comes again; 0 makes one.
        seed: of everything drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    batch_bytes = 4 * workload.num_rows * workload.input_width
    wanted = -(-past_bytes // batch_bytes) + 1 if past_bytes else 1
    count = max(1, min(wanted, _MAX_BATCHES, max(2, _MAX_BYTES // batch_bytes)))
    codebooks = [
        _points(kind, size, dim, generator)
        for size, dim in zip(workload.codebook_sizes, workload.dims, strict=True)
    ]
    if kind == "duplicates":
        codebooks = [
            codes[torch.randint(max(1, len(codes) // 3), (len(codes),), generator=generator)]
            for codes in codebooks
        ]
    batches = [_batch(workload, kind, codebooks, generator).to(device) for _ in range(count)]
    return Problem(workload, [codes.to(device) for codes in codebooks], batches, kind)


def _batch(
    workload: Workload, kind: str, codebooks: list[Tensor], generator: torch.Generator
) -> Tensor:
    parts = [_points(kind, workload.num_rows, dim, generator) for dim in workload.dims]
    if kind == "duplicates":
        for rows, codes in zip(parts, codebooks, strict=True):
            half = len(rows[::2])
            rows[::2] = codes[torch.randint(len(codes), (half,), generator=generator)]
    return torch.cat(parts, dim=1)


def _points(kind: str, count: int, dim: int, generator: torch.Generator) -> Tensor:
    points = torch.randn(count, dim, generator=generator)
    name, _, value = kind.partition(" ")
    if name == "mean":
        points += float(value)
    elif name == "bimodal":
        points += float(value) * (2.0 * torch.randint(2, (count, 1), generator=generator) - 1.0)
    return points


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Lets torch and every OpenMP or BLAS library in the process use this many threads.

    Without threadpoolctl torch alone; it comes with scikit-learn, and other libraries that compute
    on a CPU are hardly met without it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with _other_libraries(threads):
            yield
    finally:
        torch.set_num_threads(before)


def _other_libraries(threads: int) -> AbstractContextManager[object]:
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(threads)
    return limits
