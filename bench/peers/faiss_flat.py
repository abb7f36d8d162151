"""faiss' exact search of one codebook, ``IndexFlatL2``, on a CPU."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from bench.peers.codebook_loop import Search, lookup_loop, needs, needs_device
from bench.peers.contender import Call, Contender
from bench.problems import Problem

__all__ = ["FaissFlat", "FaissReused"]


class FaissFlat(Contender):
    """One index per codebook, built beforehand; a search returns distances beside indices."""

    name: ClassVar[str] = "faiss IndexFlatL2"

    def check_available(self, device: str) -> None:
        """Needs faiss, and a CPU."""
        needs_device(device, "cpu")
        needs("faiss", "faiss-cpu")

    def lookup(self, problem: Problem) -> Call:
        """See Contender."""
        faiss = needs("faiss", "faiss-cpu")

        def index(codes: Any) -> Search:
            built = faiss.IndexFlatL2(codes.shape[1])
            built.add(codes)
            return self.search(built, problem.workload.num_rows)

        searches = [index(codes.numpy()) for codes in problem.codebooks]
        call = lookup_loop(problem, searches, lambda rows: rows.numpy())

        def run(i: int) -> Any:
            # faiss may have been loaded after the process' threads were limited
            faiss.omp_set_num_threads(torch.get_num_threads())
            return call.run(i)

        return Call(run, call.outcome)

    def search(self, index: Any, rows: int) -> Search:
        """How an index is searched with that many rows."""
        del rows
        return lambda batch: index.search(batch, 1)[1]


class FaissReused(FaissFlat):
    """The same, into distances and indices that are allocated once."""

    name: ClassVar[str] = "faiss IndexFlatL2, reused buffers"

    def search(self, index: Any, rows: int) -> Search:
        """See FaissFlat."""
        found = {"D": np.empty((rows, 1), np.float32), "I": np.empty((rows, 1), np.int64)}
        return lambda batch: index.search(batch, 1, **found)[1]
