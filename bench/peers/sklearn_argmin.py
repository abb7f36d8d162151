"""scikit-learn's ``pairwise_distances_argmin``, which fuses the search with the distances."""

from __future__ import annotations

from typing import Any, ClassVar

from bench.peers.codebook_loop import Search, lookup_loop, needs, needs_device
from bench.peers.contender import Call, Contender
from bench.problems import Problem

__all__ = ["SklearnArgmin"]


class SklearnArgmin(Contender):
    """Without its checks for NaN, which nobody else makes either."""

    name: ClassVar[str] = "sklearn argmin"

    def check_available(self, device: str) -> None:
        """Needs scikit-learn, and a CPU."""
        needs_device(device, "cpu")
        needs("sklearn.metrics", "scikit-learn")

    def lookup(self, problem: Problem) -> Call:
        """See Contender."""
        argmin = needs("sklearn.metrics", "scikit-learn").pairwise_distances_argmin
        config_context = needs("sklearn", "scikit-learn").config_context

        def search(codes: Any) -> Search:
            return lambda rows: argmin(rows, codes)

        searches = [search(codes.numpy()) for codes in problem.codebooks]
        call = lookup_loop(problem, searches, lambda rows: rows.numpy())

        def run(i: int) -> Any:
            with config_context(assume_finite=True):
                return call.run(i)

        return Call(run, call.outcome)
