"""The gate: a contender whose results are wrong gets no speed.

The truth is float64, on the device of the data: ``spinlock.ops._reference`` for nearest codes, and
plain formulas, given the contender's own indices, for everything that follows from them.  Nearest
codes are checked on all rows where that is cheap and otherwise on rows drawn with a seed, the first
and the last ones always among them; everything else is checked on all rows.  A train step is
checked twice in a row, so that statistics which the first step left wrong are seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.peers.contender import EMA, Call, Contender, Contract, Outcome, backward_seed
from bench.problems import Problem, make_problem
from bench.workloads import Workload
from spinlock.layout import CodebookLayout
from spinlock.ops import _reference

__all__ = ["Verdict", "check", "wrong_rates"]

# Distances times dimensions that the truth of one batch may cost: under a second.
_ELEMENTS = {"cpu": 1 << 27}
_GPU_ELEMENTS = 1 << 33
_LEAST_ROWS = 64
_EDGE_ROWS = 16
# A call of plain loops takes minutes on a large shape; their rates are found on fewer rows.
_SLOW_ELEMENTS = 1 << 26
_FLOAT32_ULPS = 2.0**-22


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes:
        passed: everything is within the contract.
        note: what is wrong, with numbers; empty where nothing is.
        wrong: share of checked indices that are wrong, as in :func:`wrong_rates`.
        checked_rows: rows whose nearest codes were compared with the truth.
    """

    passed: bool
    note: str
    wrong: float
    checked_rows: int


def check(contender: Contender, verb: str, problem: Problem, call: Call) -> Verdict:
    """Runs a call that has not been run before and judges what it returns.

    Args:
        contender: whose contract counts.
        verb: ``lookup``, ``train_step`` or ``backward``.
        problem: what the call was made for.
        call: what the contender made of it.

    Returns:
        The first thing that is wrong, or a verdict that has passed.
    """
    books = [codes.double() for codes in problem.codebooks]
    state = _Averages(books, contender.ema)
    batches = 1 if contender.slow else 2
    wrong, checked = 0.0, 0
    for i in range(batches):
        outcome = call.run(i)
        found = call.outcome(outcome)
        del outcome
        rows = problem.batches[i % len(problem.batches)]
        complaint, share, count = _judged_indices(contender, problem, i, books, found, verb)
        wrong, checked = max(wrong, share), checked + count
        if not complaint and verb != "lookup":
            complaint = _judged_step(contender.contract, problem, rows, books, found)
        if not complaint and verb == "backward":
            seed = backward_seed(problem, i % len(problem.batches))
            complaint = _judged_gradient(contender.contract, problem, rows, seed, books, found)
        if not complaint and verb != "lookup":
            state.step(rows, _on(found.indices, rows))
            complaint = _judged_codebooks(contender.contract, state.codebooks, found)
        if complaint:
            where = "" if i == 0 else f"call {i + 1}: "
            return Verdict(False, where + complaint, wrong, checked)
        if verb != "lookup" and found.codebooks is not None:
            books = [_on(codes, rows).double() for codes in found.codebooks]
    return Verdict(True, "", wrong, checked)


def wrong_rates(
    contender: Contender, workload: Workload, kinds: Sequence[str], device: str
) -> dict[str, float]:
    """Kind of data -> share of wrong indices of a lookup.

    For those who promise to be exact every index that differs from the truth's is wrong, so that
    the lowest one has to win a tie; for others one whose code is farther than the nearest.

    Raises:
        Unavailable: the contender has no lookup here.
    """
    if contender.slow:
        few = max(_LEAST_ROWS, _SLOW_ELEMENTS // workload.code_elements)
        workload = replace(workload, num_rows=min(workload.num_rows, few))
    rates = {}
    for kind in kinds:
        problem = make_problem(workload, device, kind=kind)
        call = contender.lookup(problem)
        found = call.outcome(call.run(0))
        sample, truth = _truth_of_kind(workload, kind, device)
        if problem.device.type != "cpu":
            sample, truth = sample.to(problem.device), truth.to(problem.device)
        books = [codes.double() for codes in problem.codebooks]
        rows = problem.batches[0].index_select(0, sample)
        chosen = _on(found.indices, rows).index_select(0, sample)
        wrong, _ = _compared(contender.contract, rows, books, chosen, truth)
        rates[kind] = wrong
    return rates


@lru_cache(maxsize=64)
def _truth_of_kind(workload: Workload, kind: str, device: str) -> tuple[Tensor, Tensor]:
    problem = make_problem(workload, device, kind=kind)
    sample = _sample(problem)
    truth = _nearest(problem.batches[0].index_select(0, sample), problem.codebooks)
    return sample.cpu(), truth.cpu()


# The truth of lookups is the same for all contenders of a case.
_known: WeakKeyDictionary[Problem, dict[int, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


def _judged_indices(
    contender: Contender,
    problem: Problem,
    i: int,
    books: list[Tensor],
    found: Outcome,
    verb: str,
) -> tuple[str, float, int]:
    """(complaint, share of wrong ones, rows compared)."""
    workload = problem.workload
    shape = (workload.num_rows, workload.num_quantizers)
    if found.indices.shape != shape:
        return f"indices: expected the shape {shape}, got {found.indices.shape}", 1.0, 0
    outside = (found.indices < 0) | (found.indices >= np.array(workload.codebook_sizes))
    if outside.any():
        return f"{outside.mean():.2%} of the indices name no code", float(outside.mean()), shape[0]
    i %= len(problem.batches)
    batch = problem.batches[i]
    if verb == "lookup" or all(map(torch.equal, books, _doubles(problem))):
        known = _known.setdefault(problem, {})
        if i not in known:
            sample = _sample(problem)
            known[i] = sample, _nearest(batch.index_select(0, sample), problem.codebooks)
        sample, truth = known[i]
    else:
        sample = _sample(problem)
        truth = _nearest(batch.index_select(0, sample), books)
    rows = batch.index_select(0, sample)
    chosen = _on(found.indices, rows).index_select(0, sample)
    contract = contender.contract
    share, excess = _compared(contract, rows, books, chosen, truth)
    of = f"of {truth.numel():,} checked indices"
    if contract.exact and share > 0:
        complaint = f"{share:.2%} {of} differ from the float64 truth, promised are none"
        return complaint, share, len(rows)
    # Written so that NaN is too much.
    if not contract.exact and not excess <= contract.excess:
        return (
            f"{share:.2%} {of} are wrong, by up to {excess:.2g} of |x|^2 + |c|^2 where "
            f"{contract.excess:.2g} are allowed",
            share,
            len(rows),
        )
    return "", share, len(rows)


def _judged_step(
    contract: Contract, problem: Problem, rows: Tensor, books: list[Tensor], found: Outcome
) -> str:
    """Quantized rows and commitment, given the contender's indices."""
    if found.quantized is None or found.commitment is None:
        return "a train step has to return quantized rows and commitment losses"
    if found.quantized.shape != tuple(rows.shape):
        return f"quantized: expected {tuple(rows.shape)}, got {found.quantized.shape}"
    if found.commitment.shape != (len(books),):
        return f"commitment: expected {(len(books),)}, got {found.commitment.shape}"
    indices, quantized = _on(found.indices, rows), _on(found.quantized, rows)
    for q, (part, given) in enumerate(_parts(problem, rows, quantized)):
        codes = books[q].index_select(0, indices[:, q])
        error = float((given.double() - codes).abs().max() / _largest(books[q]))
        if not error <= contract.tolerance:
            return f"quantizer {q}: quantized rows are off by {error:.2g} of the largest code"
        wanted = float((part.double() - codes).square().mean())
        given_loss = float(found.commitment[q])
        # Squares of float32 rows that are nearly their codes have no more digits than this.
        allowed = contract.tolerance * wanted + (_FLOAT32_ULPS * float(part.abs().max())) ** 2
        if not abs(given_loss - wanted) <= allowed:
            return f"quantizer {q}: commitment {given_loss:.6g}, in float64 {wanted:.6g}"
    return ""


def _judged_gradient(
    contract: Contract,
    problem: Problem,
    rows: Tensor,
    seed: Tensor,
    books: list[Tensor],
    found: Outcome,
) -> str:
    """``upstream + 2 (x - c) / (B D_q Q)``, each term to its own accuracy: they differ by far."""
    if found.gradient is None:
        return "a backward pass has to return the gradient of the latents"
    if found.gradient.shape != tuple(rows.shape):
        return f"gradient: expected {tuple(rows.shape)}, got {found.gradient.shape}"
    indices = _on(found.indices, rows)
    for q, (part, upstream, given) in enumerate(
        _parts(problem, rows, seed, _on(found.gradient, rows))
    ):
        pull = part.double() - books[q].index_select(0, indices[:, q])
        pull *= 2.0 / (part.numel() * len(books))
        wanted = upstream.double() + pull
        # Of the sum float32 keeps 24 bits, and where upstream is small those show the pull.
        allowed = contract.tolerance * float(pull.abs().max()) + _FLOAT32_ULPS * wanted.abs()
        bad = ~((given.double() - wanted).abs() <= allowed)
        if bad.any():
            error = float((given.double() - wanted).abs().max())
            share = float(bad.double().mean())
            return (
                f"quantizer {q}: {share:.2%} of the gradient differs from straight-through + "
                f"commitment, by up to {error:.2g}"
            )
    return ""


def _judged_codebooks(contract: Contract, wanted: list[Tensor], found: Outcome) -> str:
    if found.codebooks is None or len(found.codebooks) != len(wanted):
        return f"a train step has to return {len(wanted)} codebooks"
    for q, (codes, array) in enumerate(zip(wanted, found.codebooks, strict=True)):
        if array.shape != tuple(codes.shape):
            return f"codebook {q}: expected {tuple(codes.shape)}, got {array.shape}"
        error = float((_on(array, codes).double() - codes).abs().max() / _largest(codes))
        if not error <= contract.tolerance:
            return f"codebook {q}: updated codes are off by {error:.2g} of the largest one"
    return ""


class _Averages:
    """The EMA of van den Oord et al. 2017, appendix A.1, in float64; counts start at one."""

    def __init__(self, codebooks: list[Tensor], ema: EMA) -> None:
        self.ema = ema
        self.codebooks = codebooks
        self.counts = [codes.new_ones(len(codes)) for codes in codebooks]
        self.sums = [codes.clone() for codes in codebooks]

    def step(self, rows: Tensor, indices: Tensor) -> None:
        """With rows [B, sum D_q] and the codes [B, Q] that they were given."""
        decay, epsilon = self.ema.decay, self.ema.epsilon
        widths = [codes.shape[1] for codes in self.codebooks]
        codebooks = []
        for q, part in enumerate(torch.split(rows, widths, dim=1)):
            chosen = indices[:, q]
            ones = self.counts[q].new_ones(len(chosen))
            counts = torch.zeros_like(self.counts[q]).index_add_(0, chosen, ones)
            sums = torch.zeros_like(self.sums[q]).index_add_(0, chosen, part.double())
            self.counts[q] = decay * self.counts[q] + (1.0 - decay) * counts
            self.sums[q] = decay * self.sums[q] + (1.0 - decay) * sums
            total = self.counts[q].sum()
            smoothed = (self.counts[q] + epsilon) / (total + len(counts) * epsilon) * total
            codebooks.append(self.sums[q] / smoothed[:, None])
        self.codebooks = codebooks


def _compared(
    contract: Contract, rows: Tensor, books: list[Tensor], chosen: Tensor, truth: Tensor
) -> tuple[float, float]:
    """(share of wrong indices, largest excess of a squared distance over |x|^2 + |c|^2)."""
    wrong, most = 0, 0.0
    widths = [codes.shape[1] for codes in books]
    for q, part in enumerate(torch.split(rows.double(), widths, dim=1)):
        differ = (chosen[:, q] != truth[:, q]).nonzero().flatten()
        if not len(differ):
            continue
        x = part.index_select(0, differ)
        theirs = books[q].index_select(0, chosen[:, q].index_select(0, differ))
        best = books[q].index_select(0, truth[:, q].index_select(0, differ))
        excess = _squared(x - theirs) - _squared(x - best)
        wrong += len(differ) if contract.exact else int((~(excess <= 0)).sum())
        scale = _squared(x) + _squared(theirs)
        most = max(most, float((excess / scale).max()))
    return wrong / truth.numel(), most


def _squared(difference: Tensor) -> Tensor:
    """[n] of [n, D]: added up over d, ascending, as the truth does."""
    sums = difference.new_zeros(len(difference))
    for column in difference.unbind(dim=1):
        sums += column * column
    return sums


def _nearest(rows: Tensor, codebooks: Sequence[Tensor]) -> Tensor:
    """The truth, int64 [n, Q]."""
    columns = []
    widths = [codes.shape[1] for codes in codebooks]
    for codes, part in zip(codebooks, torch.split(rows, widths, dim=1), strict=True):
        layout = CodebookLayout((len(codes),), (codes.shape[1],), 1)
        columns.append(_reference.nearest_codes(part, codes.reshape(-1), layout, None))
    return torch.cat(columns, dim=1)


def _sample(problem: Problem) -> Tensor:
    """Rows to compare, ascending: all, or as many as are cheap, with the first and last ones."""
    rows, device = problem.workload.num_rows, problem.device
    elements = _ELEMENTS.get(device.type, _GPU_ELEMENTS)
    wanted = max(_LEAST_ROWS, elements // problem.workload.code_elements)
    if wanted >= rows:
        return torch.arange(rows, device=device)
    drawn = torch.randperm(rows, generator=torch.Generator().manual_seed(rows))
    edge = torch.arange(_EDGE_ROWS)
    chosen = torch.cat([edge, rows - 1 - edge, drawn[: wanted - 2 * _EDGE_ROWS]])
    return chosen.unique().to(device)  # type: ignore[no-any-return, no-untyped-call]


def _doubles(problem: Problem) -> list[Tensor]:
    return [codes.double() for codes in problem.codebooks]


def _parts(problem: Problem, *packed: Tensor) -> list[tuple[Tensor, ...]]:
    """Packed tensors [B, sum D_q] -> per quantizer their columns."""
    ends = np.cumsum([0, *problem.workload.dims]).tolist()
    return [tuple(each[:, start:stop] for each in packed) for start, stop in pairwise(ends)]


def _largest(codes: Tensor) -> float:
    return max(float(codes.abs().max()), torch.finfo(torch.float32).tiny)


def _on(array: NDArray[Any], like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.device)
