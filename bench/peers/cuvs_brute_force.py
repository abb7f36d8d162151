"""cuVS' exact search of one codebook, ``neighbors.brute_force``, on a GPU."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bench.peers.codebook_loop import Search, lookup_loop, needs, needs_device
from bench.peers.contender import Call, Contender, Contract
from bench.problems import Problem

__all__ = ["CuvsBruteForce"]

_MODULE, _PACKAGE = "cuvs.neighbors.brute_force", "cuvs-cu12 (or cuvs-cu13)"


class CuvsBruteForce(Contender):
    """One index per codebook, built beforehand; a search returns distances beside indices."""

    name: ClassVar[str] = "cuVS brute force"
    # Its products may be tf32.
    contract: ClassVar[Contract] = Contract(excess=2e-3)

    def check_available(self, device: str) -> None:
        """Needs cuVS, and a CUDA device."""
        needs_device(device, "cuda")
        needs(_MODULE, _PACKAGE)

    def lookup(self, problem: Problem) -> Call:
        """See Contender."""
        brute_force = needs(_MODULE, _PACKAGE)
        resources_type = needs("cuvs.common", _PACKAGE).Resources

        def search(codes: Tensor) -> Search:
            handles: dict[int, object] = {}
            index = brute_force.build(codes.contiguous(), metric="sqeuclidean")

            def run(rows: Tensor) -> Tensor:
                stream = torch.cuda.current_stream(rows.device).cuda_stream
                if stream not in handles:
                    handles[stream] = resources_type(stream=stream)
                neighbours = torch.empty(len(rows), 1, dtype=torch.int64, device=rows.device)
                distances = torch.empty(len(rows), 1, dtype=torch.float32, device=rows.device)
                # With a handle of the stream it does not wait for the device.
                brute_force.search(
                    index,
                    rows,
                    1,
                    neighbors=neighbours,
                    distances=distances,
                    resources=handles[stream],
                )
                return neighbours

            return run

        return lookup_loop(problem, [search(codes) for codes in problem.codebooks])
