"""flash-kmeans' assignment kernel: distances and argmin fused in Triton, products in tf32."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench.peers.codebook_loop import Search, lookup_loop, needs, needs_device
from bench.peers.contender import Call, Contender, Contract
from bench.problems import Problem

__all__ = ["FlashKmeans"]

_MODULE, _PACKAGE = "flash_kmeans.assign_euclid_triton", "flash-kmeans"


class FlashKmeans(Contender):
    """One launch per codebook on float32, tiles of its own choice; norms of codes are ready."""

    name: ClassVar[str] = "flash-kmeans"
    # As for tf32 in a torch loop.
    contract: ClassVar[Contract] = Contract(excess=2e-3)

    def check_available(self, device: str) -> None:
        """Needs flash-kmeans, and a CUDA device."""
        needs_device(device, "cuda")
        needs(_MODULE, _PACKAGE)

    def lookup(self, problem: Problem) -> Call:
        """See Contender."""
        assign = needs(_MODULE, _PACKAGE).euclid_assign_triton

        def search(codes: Tensor) -> Search:
            centroids, norms = codes[None], codes.square().sum(dim=1)[None]

            def run(rows: Tensor) -> Tensor:
                squares = rows.square().sum(dim=2)
                found: Tensor = assign(rows, centroids, squares, c_sq=norms)
                return found

            return run

        searches = [search(codes) for codes in problem.codebooks]
        return lookup_loop(problem, searches, lambda rows: rows[None])
