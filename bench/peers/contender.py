"""What a contender offers: calls that the clock drives, and their results for the gate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.errors import Unavailable
from bench.problems import Problem

__all__ = ["EMA", "Call", "Contender", "Contract", "Outcome", "backward_seed", "index_matrix"]


@dataclass(frozen=True)
class Outcome:
    """What one call produced on one batch, as plain arrays; None where the suite makes no such.

    Attributes:
        indices: int64 [B, Q].
        quantized: float32 [B, sum D_q], the codes that were chosen.
        commitment: [Q], mean squared error per quantizer, unweighted.
        codebooks: after the update, [K_q, D_q] each.
        gradient: float32 [B, sum D_q], of the latents.
    """

    indices: NDArray[np.int64]
    quantized: NDArray[np.float32] | None = None
    commitment: NDArray[np.float64] | None = None
    codebooks: list[NDArray[np.float32]] | None = None
    gradient: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Call:
    """One prepared way to do the work.

    Attributes:
        run: does it once on batch i and returns whatever it naturally returns.
        outcome: turns that into an :class:`Outcome`; never timed.
    """

    run: Callable[[int], Any]
    outcome: Callable[[Any], Outcome]


@dataclass(frozen=True)
class Contract:
    """What a contender promises, which the gate holds it to on data of mean 0.

    Attributes:
        exact: every index equals the float64 truth, on every kind of data.
        excess: otherwise, the most by which the chosen code's squared distance may exceed the
            least one, relative to |x|^2 + |c|^2.
        tolerance: relative error of losses, codes and gradients, against the largest value.
    """

    exact: bool = False
    excess: float = 1e-5
    tolerance: float = 1e-4


@dataclass(frozen=True)
class EMA:
    """The update that every train step does: van den Oord et al. 2017, appendix A.1."""

    decay: float = 0.99
    epsilon: float = 1e-5


class Contender(ABC):
    """A way to look up and train codebooks.

    Attributes:
        name: as printed; unique.
        ours: spinlock's own, which ratios are made for.
        contract: what the gate checks.
        slow: plain loops, whose time is estimated on a few rows before all of them are run.
        compiles: needs minutes of compiling for every new shape.
    """

    name: ClassVar[str]
    ours: ClassVar[bool] = False
    contract: ClassVar[Contract] = Contract()
    slow: ClassVar[bool] = False
    compiles: ClassVar[bool] = False
    ema: ClassVar[EMA] = EMA()

    @abstractmethod
    def check_available(self, device: str) -> None:
        """Raises Unavailable, with what to install, where it cannot run."""

    def lookup(self, problem: Problem) -> Call:
        """The nearest code of every row and codebook: indices only."""
        del problem
        raise Unavailable("has no lookup alone")

    def train_step(self, problem: Problem) -> Call:
        """Lookup, gather, commitment loss, EMA statistics and codebook refresh, no gradients.

        All codebooks start from ``problem.codebooks`` with counts of one row per code.
        """
        del problem
        raise Unavailable("does not train")

    def backward(self, problem: Problem) -> Call:
        """The train step with gradients of ``(quantized * upstream).sum() + mean commitment``.

        ``upstream`` is ``backward_seed(problem, i)``, the same for every contender.
        """
        del problem
        raise Unavailable("has no gradients")


def backward_seed(problem: Problem, i: int) -> Tensor:
    """The gradient that arrives at the quantized rows of batch i: another batch, float32."""
    return problem.batches[(i + 1) % len(problem.batches)]


def index_matrix(columns: list[Tensor]) -> NDArray[np.int64]:
    """Indices [B] per quantizer -> int64 [B, Q]."""
    return torch.stack([c.reshape(-1).long() for c in columns], dim=1).cpu().numpy()
