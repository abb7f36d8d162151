"""The cases of the suite ``drop-in``: modules for other people's models, with the same codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import Unavailable
from bench.peers.codebook_loop import needs
from bench.peers.contender import EMA, Call, Contract, Outcome, index_matrix
from bench.peers.torch_loop import codebook_arrays

__all__ = ["CONTENDERS", "DropIn", "DropInCase", "DropInProblem", "cases", "make_problem"]

Returned = tuple[Tensor, Tensor, Tensor]
"""Quantized [batch, time, D], indices [batch, time, L] or [batch, time], losses [L] or []."""

_EMA = EMA()
_PEER = "vector-quantize-pytorch"


@dataclass(frozen=True)
class DropInCase:
    """One module and the batch that it is given.

    Attributes:
        name: as printed.
        num_levels: L; 1 is a ``VectorQuantize``, more are a ``ResidualVQ``.
        codebook_size, dim: K and D of every level.
        batch, time: leading dimensions of the input [batch, time, D].
        code_scale: standard deviation of codes, that of rows being 1.
    """

    name: str
    num_levels: int
    codebook_size: int
    dim: int
    batch: int
    time: int
    code_scale: float = 1.0

    @property
    def num_rows(self) -> int:
        """N."""
        return self.batch * self.time

    @property
    def text(self) -> str:
        """The shape in words."""
        kind = "VectorQuantize" if self.num_levels == 1 else f"ResidualVQ, {self.num_levels} levels"
        return f"{kind}, N {self.num_rows:,}, K {self.codebook_size:,}, D {self.dim}"

    @property
    def flops(self) -> float:
        """One multiply-add per row, code, dimension and level."""
        return 2.0 * self.num_rows * self.num_levels * self.codebook_size * self.dim

    @property
    def matrix_bytes(self) -> float:
        """A float32 matrix of the distances of all rows to all codes of one level."""
        return 4.0 * self.num_rows * self.codebook_size


def cases(quick: bool) -> list[DropInCase]:
    """A codec's residual levels and an image tokenizer's large codebook; quick: 1/16 the rows.

    >>> [case.text for case in cases(quick=False)]  # doctest: +NORMALIZE_WHITESPACE
    ['ResidualVQ, 8 levels, N 16,384, K 1,024, D 128', 'VectorQuantize, N 16,384, K 8,192, D 32']
    """
    batch = 1 if quick else 16
    return [
        # Of rows in 128 dimensions random codes of this length leave the least.
        DropInCase("residual-8x1024-128", 8, 1024, 128, batch, 1024, code_scale=0.3),
        DropInCase("single-8192-32", 1, 8192, 32, batch, 1024),
    ]


@dataclass(frozen=True)
class DropInProblem:
    """Codes and batches of a case on one device.

    Attributes:
        case: the shape.
        codebooks: float32 [K, D], one per level.
        batches: float32 [batch, time, D].
        upstream: float32 [batch, time, D], the gradient that arrives at the quantized rows, small
            enough for the commitment's own to show beside it.
    """

    case: DropInCase
    codebooks: list[Tensor]
    batches: list[Tensor]
    upstream: Tensor


def make_problem(
    case: DropInCase, device: str = "cpu", *, past_bytes: int = 0, seed: int = 0
) -> DropInProblem:
    """Standard normal rows, as many batches as hold ``past_bytes`` together, and normal codes."""
    generator = torch.Generator().manual_seed(seed)
    shape = (case.batch, case.time, case.dim)
    count = past_bytes // (4 * case.num_rows * case.dim) + 1

    def drawn(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator).to(device)

    books = [case.code_scale * drawn(case.codebook_size, case.dim) for _ in range(case.num_levels)]
    batches = [drawn(*shape) for _ in range(count)]
    return DropInProblem(case, books, batches, drawn(*shape) / batches[0].numel())


@dataclass(frozen=True)
class DropIn:
    """A module under one name.

    Attributes:
        name: as printed; spinlock's own begin with ``spinlock``.
        build: (case) -> module with EMA, straight-through and commitment weight 1.
        level_books: (module) -> per level (codes, sums, counts), views to write to.
        returned: (what the module returned) -> quantized, indices, losses.
        contract: what its indices are held to.
        per_level: whether the gradient estimator is applied once per level, so that rows get
            ``num_levels`` times the gradient of the quantized ones.
    """

    name: str
    build: Callable[[DropInCase], nn.Module]
    level_books: Callable[[Any], list[tuple[Tensor, Tensor, Tensor]]]
    returned: Callable[[Any], Returned]
    contract: Contract
    per_level: bool

    @torch.no_grad()
    def module(self, problem: DropInProblem, *, training: bool) -> nn.Module:
        """With the problem's codes, and counts of one row per code.

        Raises:
            Unavailable: the package is not installed.
        """
        module = self.build(problem.case).to(problem.upstream.device)
        for views, codes in zip(self.level_books(module), problem.codebooks, strict=True):
            stored, sums, counts = views
            stored.copy_(codes.view_as(stored))
            sums.copy_(codes.view_as(sums))
            counts.fill_(1.0)
        return module.train(training)

    def lookup(self, problem: DropInProblem) -> Call:
        """The module in eval mode, without gradients."""
        module = self.module(problem, training=False)

        @torch.no_grad()
        def run(i: int) -> Any:
            return module(problem.batches[i % len(problem.batches)])

        return Call(run, lambda found: self._outcome(problem, module, found))

    def train_step(self, problem: DropInProblem) -> Call:
        """Forward in training mode and the gradient of the input."""
        module = self.module(problem, training=True)

        def run(i: int) -> tuple[Any, Tensor]:
            x = problem.batches[i % len(problem.batches)].detach().requires_grad_()
            found = module(x)
            quantized, _, losses = self.returned(found)
            gradients = [problem.upstream, None]
            (gradient,) = torch.autograd.grad([quantized, losses.mean()], x, gradients)
            return found, gradient

        return Call(run, lambda found: self._outcome(problem, module, *found))

    def _outcome(
        self, problem: DropInProblem, module: nn.Module, found: Any, gradient: Tensor | None = None
    ) -> Outcome:
        case = problem.case
        quantized, indices, losses = self.returned(found)
        shape = (case.codebook_size, case.dim)
        books = [codes.detach().reshape(shape) for codes, _, _ in self.level_books(module)]
        return Outcome(
            index_matrix(list(indices.reshape(case.num_rows, case.num_levels).unbind(dim=1))),
            quantized.detach().reshape(case.num_rows, case.dim).cpu().numpy(),
            losses.detach().double().reshape(-1).cpu().numpy(),
            codebook_arrays(books),
            None if gradient is None else gradient.reshape(case.num_rows, case.dim).cpu().numpy(),
        )


def _native(case: DropInCase) -> nn.Module:
    import spinlock

    update = spinlock.Update(decay=_EMA.decay, epsilon=_EMA.epsilon, init="uniform")
    if case.num_levels == 1:
        return spinlock.VectorQuantize(case.dim, case.codebook_size, update=update)
    return spinlock.ResidualVQ(case.dim, case.codebook_size, case.num_levels, update=update)


def _native_books(module: Any) -> list[tuple[Tensor, Tensor, Tensor]]:
    from spinlock.modules.codebook_views import even_codebooks

    banks = [layer.bank for layer in getattr(module, "levels", [module])]
    return [
        (layer_codes, even_codebooks(bank.ema_sums, bank.layout), bank.ema_counts)
        for bank in banks
        for layer_codes in [even_codebooks(bank.weight, bank.layout)]
    ]


def _of_package(package: Callable[[], Any]) -> Callable[[DropInCase], nn.Module]:
    """Builds by the constructors of vector-quantize-pytorch, or of what stands in for it."""

    def build(case: DropInCase) -> nn.Module:
        options: dict[str, Any] = {
            "dim": case.dim,
            "codebook_size": case.codebook_size,
            "decay": _EMA.decay,
            "eps": _EMA.epsilon,
            "commitment_weight": 1.0,
            "rotation_trick": False,
        }
        if case.num_levels > 1:
            return package().ResidualVQ(num_quantizers=case.num_levels, **options)  # type: ignore[no-any-return]
        return package().VectorQuantize(**options)  # type: ignore[no-any-return]

    return build


def _package_books(module: Any) -> list[tuple[Tensor, Tensor, Tensor]]:
    books = [layer._codebook for layer in getattr(module, "layers", [module])]
    return [(book.embed, book.embed_avg, book.cluster_size) for book in books]


def _stand_in() -> Any:
    from spinlock.compat import vector_quantize_pytorch

    return vector_quantize_pytorch


CONTENDERS = (
    DropIn(
        "spinlock",
        _native,
        _native_books,
        lambda output: (output.quantized, output.indices, output.losses.commitment),
        Contract(exact=True),
        per_level=False,
    ),
    DropIn(
        "spinlock, changed import",
        _of_package(_stand_in),
        _package_books,
        lambda found: found,
        Contract(exact=True),
        per_level=True,
    ),
    DropIn(
        _PEER,
        _of_package(lambda: needs("vector_quantize_pytorch", _PEER)),
        _package_books,
        lambda found: found,
        Contract(),
        per_level=True,
    ),
)


def contender(name: str) -> DropIn:
    """By its name.

    Raises:
        Unavailable: there is none.
    """
    for each in CONTENDERS:
        if each.name == name:
            return each
    raise Unavailable(f"no contender {name!r}")
