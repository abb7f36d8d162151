"""spinlock itself: one contender per backend that it has, through its public interface."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bench.errors import Unavailable
from bench.peers.contender import Call, Contender, Contract, Outcome, backward_seed
from bench.peers.torch_loop import codebook_arrays
from bench.problems import Problem
from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.modules import RaggedVectorQuantizer
from spinlock.modules.codebook_views import codebook_view
from spinlock.modules.outputs import QuantizerOutput
from spinlock.ops import nearest_codes

__all__ = ["SpinlockRagged", "of_backend", "quantizer_of"]

_PLAIN_LOOPS = ("reference",)


class SpinlockRagged(Contender):
    """``RaggedVectorQuantizer`` and ``nearest_codes`` on one backend.

    Attributes:
        backend: its name.
    """

    ours: ClassVar[bool] = True
    contract: ClassVar[Contract] = Contract(exact=True)
    backend: ClassVar[str]

    def check_available(self, device: str) -> None:
        """Asks the backend itself, on two rows."""
        try:
            layout = CodebookLayout((2,), (4,))
            rows = torch.zeros(2, 4, device=device)
            weight = torch.zeros(layout.weight_size, device=device)
            nearest_codes(rows, weight, layout, backend=self.backend)
        except (InputError, ImportError) as error:
            # without the two rows' dtypes and the remedy, which are of no use here
            raise Unavailable(str(error).partition(", got ")[0]) from error

    def lookup(self, problem: Problem) -> Call:
        """See Contender."""
        bank = quantizer_of(problem, self.backend).bank

        def run(i: int) -> Tensor:
            rows = problem.batches[i % len(problem.batches)]
            return nearest_codes(rows, bank.weight, bank.layout, backend=self.backend)

        return Call(run, lambda found: Outcome(found.long().cpu().numpy()))

    def train_step(self, problem: Problem) -> Call:
        """See Contender."""
        quantizer = self._training(problem)

        @torch.no_grad()
        def run(i: int) -> QuantizerOutput:
            output: QuantizerOutput = quantizer(problem.batches[i % len(problem.batches)])
            return output

        return Call(run, lambda output: _outcome(output, quantizer))

    def backward(self, problem: Problem) -> Call:
        """See Contender."""
        quantizer = self._training(problem)

        def run(i: int) -> tuple[QuantizerOutput, Tensor]:
            i %= len(problem.batches)
            latents = problem.batches[i].detach().requires_grad_()
            output: QuantizerOutput = quantizer(latents)
            # commitment_weight 1 and the mean over quantizers are the defaults
            (gradient,) = torch.autograd.grad(
                [output.quantized, output.losses.total], latents, [backward_seed(problem, i), None]
            )
            return output, gradient

        return Call(run, lambda result: _outcome(result[0], quantizer, result[1]))

    def _training(self, problem: Problem) -> RaggedVectorQuantizer:
        quantizer = quantizer_of(problem, self.backend, self.ema.decay)
        quantizer.bank.epsilon = self.ema.epsilon
        return quantizer.train()


def of_backend(backend: str) -> Contender:
    """The contender of a backend, whose name says which."""
    settings = {
        "name": f"spinlock {backend}",
        "backend": backend,
        "slow": backend in _PLAIN_LOOPS,
        "__doc__": f"spinlock on its backend {backend!r}.",
    }
    made: type[SpinlockRagged] = type(f"Spinlock{backend.title()}", (SpinlockRagged,), settings)
    return made()


@torch.no_grad()
def quantizer_of(problem: Problem, backend: str, decay: float = 0.99) -> RaggedVectorQuantizer:
    """With the problem's codes, and counts of one row per code."""
    workload = problem.workload
    quantizer = RaggedVectorQuantizer(
        workload.codebook_sizes, workload.dims, decay=decay, init="uniform", backend=backend
    ).to(problem.device)
    bank = quantizer.bank
    for statistic in (bank.weight, bank.ema_sums):
        assert statistic is not None
        for q, codes in enumerate(problem.codebooks):
            codebook_view(statistic, bank.layout, q).copy_(codes)
    return quantizer


def _outcome(
    output: QuantizerOutput, quantizer: RaggedVectorQuantizer, gradient: Tensor | None = None
) -> Outcome:
    return Outcome(
        output.indices.long().cpu().numpy(),
        output.quantized.detach().float().cpu().numpy(),
        output.losses.commitment.detach().double().cpu().numpy(),
        codebook_arrays([quantizer.codebook(q) for q in range(quantizer.num_quantizers)]),
        None if gradient is None else gradient.float().cpu().numpy(),
    )
