"""A loop of ``vector_quantize_pytorch.VectorQuantize``, one module per codebook.

Settings: EMA with the bench's decay, no rotation trick, no revival, no other loss than commitment.
Rows are passed as ``[1, B, D]``; as ``[B, D]`` its eval mode would copy the codebook once per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.peers.codebook_loop import needs, needs_memory
from bench.peers.contender import Call, Contender, Outcome, backward_seed, index_matrix
from bench.peers.torch_loop import codebook_arrays
from bench.problems import Problem

__all__ = ["VectorQuantizeLoop"]

# A train step holds distances, a one-hot matrix of int64 and its float copy; a lookup nearly so.
_BYTES_PER_SCORE = 24

Result = list[tuple[Tensor, Tensor, Tensor]]
"""Per quantizer: quantized [1, B, D_q], indices [1, B], loss []."""


class VectorQuantizeLoop(Contender):
    """Eager; a lookup makes the quantized rows as well, for the package offers none without."""

    name: ClassVar[str] = "vector-quantize-pytorch"

    def check_available(self, device: str) -> None:
        """Needs the package."""
        del device
        needs("vector_quantize_pytorch", "vector-quantize-pytorch")

    def lookup(self, problem: Problem) -> Call:
        """See Contender."""
        modules = self._modules(problem, training=False)
        batches = [[part[None] for part in parts] for parts in problem.parts]

        @torch.no_grad()
        def run(i: int) -> Result:
            return _forward(modules, batches[i % len(batches)])

        return Call(run, lambda found: Outcome(index_matrix([each[1] for each in found])))

    def train_step(self, problem: Problem) -> Call:
        """See Contender."""
        modules = self._modules(problem, training=True)
        batches = [[part[None] for part in parts] for parts in problem.parts]

        @torch.no_grad()
        def run(i: int) -> Result:
            return _forward(modules, batches[i % len(batches)])

        return Call(run, lambda found: _outcome(found, modules))

    def backward(self, problem: Problem) -> Call:
        """See Contender."""
        modules = self._modules(problem, training=True)
        batches = [[part[None] for part in parts] for parts in problem.parts]
        widths = list(problem.workload.dims)
        seeds = [
            [part.contiguous()[None] for part in torch.split(backward_seed(problem, i), widths, 1)]
            for i in range(len(batches))
        ]

        def run(i: int) -> tuple[Result, tuple[Tensor, ...]]:
            i %= len(batches)
            leaves = [part.detach().requires_grad_() for part in batches[i]]
            found = _forward(modules, leaves)
            mean = torch.stack([loss for _, _, loss in found]).mean()
            outputs = [*(quantized for quantized, _, _ in found), mean]
            return found, torch.autograd.grad(outputs, leaves, [*seeds[i], None])

        return Call(run, lambda result: _outcome(result[0], modules, result[1]))

    def _modules(self, problem: Problem, *, training: bool) -> list[Any]:
        package = needs("vector_quantize_pytorch", "vector-quantize-pytorch")
        scores = problem.workload.num_rows * max(problem.workload.codebook_sizes)
        needs_memory(self.name, problem, _BYTES_PER_SCORE * scores)
        modules = []
        for codes in problem.codebooks:
            size, dim = codes.shape
            module = package.VectorQuantize(
                dim=dim,
                codebook_size=size,
                decay=self.ema.decay,
                eps=self.ema.epsilon,
                commitment_weight=1.0,
                rotation_trick=False,
            ).to(problem.device)
            module.codebook = codes
            module._codebook.embed_avg.copy_(codes[None])
            module._codebook.cluster_size.fill_(1.0)
            modules.append(module.train(training))
        return modules


def _forward(modules: Sequence[Any], parts: Sequence[Tensor]) -> Result:
    return [module(part) for module, part in zip(modules, parts, strict=True)]


def _outcome(
    found: Result, modules: Sequence[Any], gradients: Sequence[Tensor] | None = None
) -> Outcome:
    return Outcome(
        index_matrix([indices for _, indices, _ in found]),
        torch.cat([quantized[0] for quantized, _, _ in found], dim=1).detach().cpu().numpy(),
        torch.stack([loss for _, _, loss in found]).detach().double().cpu().numpy(),
        codebook_arrays([module.codebook for module in modules]),
        None if gradients is None else torch.cat([g[0] for g in gradients], dim=1).cpu().numpy(),
    )
