"""spinlock's rows: one per backend, and one per way of calling a backend that is its own row."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bench.errors import Unavailable
from bench.peers.contender import Call, Contender, Contract, Outcome
from bench.peers.spinlock_ragged import of_backend, quantizer_of
from bench.problems import Problem
from spinlock.ops import nearest_codes
from spinlock.ops._backend import BACKENDS

__all__ = ["CppFloat32", "CppReused", "spinlock_contenders"]


class CppFloat32(Contender):
    """The C++ core kept from its bfloat16 first pass: what float32 instructions reach."""

    name: ClassVar[str] = "spinlock cpp, float32"
    ours: ClassVar[bool] = True
    contract: ClassVar[Contract] = Contract(exact=True)

    def check_available(self, device: str) -> None:
        """See Contender; elsewhere the row of the backend itself is this one."""
        of_backend("cpp").check_available(device)
        if not _instruction_sets()[-1].endswith("_bf16"):
            raise Unavailable("no bfloat16 instructions here: see spinlock cpp")

    def lookup(self, problem: Problem) -> Call:
        """See Contender."""
        from spinlock.ops import _cpp

        bank = quantizer_of(problem, "cpp").bank
        isa = [name for name in _instruction_sets() if not name.endswith("_bf16")][-1]

        def run(i: int) -> Tensor:
            rows = problem.batches[i % len(problem.batches)]
            return _cpp.nearest_codes(rows, bank.weight, bank.layout, isa=isa)

        return Call(run, lambda found: Outcome(found.long().cpu().numpy()))


class CppReused(Contender):
    """The C++ core, into indices that are allocated once."""

    name: ClassVar[str] = "spinlock cpp, reused buffers"
    ours: ClassVar[bool] = True
    contract: ClassVar[Contract] = Contract(exact=True)

    def check_available(self, device: str) -> None:
        """See Contender."""
        of_backend("cpp").check_available(device)

    def lookup(self, problem: Problem) -> Call:
        """See Contender."""
        bank = quantizer_of(problem, "cpp").bank
        indices = torch.empty(
            problem.workload.num_rows, problem.workload.num_quantizers, dtype=torch.int64
        )

        def run(i: int) -> Tensor:
            rows = problem.batches[i % len(problem.batches)]
            return nearest_codes(rows, bank.weight, bank.layout, out=indices, backend="cpp")

        return Call(run, lambda found: Outcome(found.numpy().copy()))


def spinlock_contenders() -> list[Contender]:
    """In spinlock's own order; a new backend needs no edit here."""
    return [*(of_backend(backend) for backend in BACKENDS), CppFloat32(), CppReused()]


def _instruction_sets() -> list[str]:
    from spinlock.ops import _cpp

    return _cpp.instruction_sets()
