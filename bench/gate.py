"""The gate: a contender whose results are wrong gets no speed.

The truth is float64, on the device of the data: ``spinlock.ops._reference`` for nearest codes, and
plain formulas, given the contender's own indices, for everything that follows from them.  Nearest
codes are checked on all rows where that is cheap and otherwise on rows drawn with a seed, the first
and the last ones always among them; everything else is checked on all rows.  Two calls in a row are
checked, on two batches, so that statistics which the first step left wrong are seen; one where that
would take seconds.
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

from bench.peers.contender import Call, Contender, Contract, Outcome, backward_seed
from bench.problems import KINDS, Problem, make_problem
from bench.truth import LEAST_ROWS, Averages, compared, nearest, sampled_rows
from bench.workloads import Workload

__all__ = ["Verdict", "check", "wrong_rates"]

# A call of plain loops takes minutes on a large shape; their rates are found on fewer rows.
_SLOW_ELEMENTS = 1 << 26
# Rows times columns up to which a train step is checked twice.
_TWO_STEPS_VALUES = {"cpu": 1 << 22}
_TWO_GPU_STEPS_VALUES = 1 << 26
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
    state = Averages(books, contender.ema)
    wrong, checked = 0.0, 0
    for i in range(_calls(contender, verb, problem)):
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


def _calls(contender: Contender, verb: str, problem: Problem) -> int:
    limit = _TWO_STEPS_VALUES.get(problem.device.type, _TWO_GPU_STEPS_VALUES)
    values = problem.workload.num_rows * problem.workload.input_width
    return 1 if contender.slow or (verb != "lookup" and values > limit) else 2


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
        few = max(LEAST_ROWS, _SLOW_ELEMENTS // workload.code_elements)
        workload = replace(workload, num_rows=min(workload.num_rows, few))
    rates = {}
    for kind in kinds:
        problem = _problem_of_kind(workload, kind, device)
        call = contender.lookup(problem)
        found = call.outcome(call.run(0))
        sample, truth = _known_truth(problem, 0)
        books = [codes.double() for codes in problem.codebooks]
        rows = problem.batches[0].index_select(0, sample)
        chosen = _on(found.indices, rows).index_select(0, sample)
        wrong, _ = compared(contender.contract, rows, books, chosen, truth)
        rates[kind] = wrong
    return rates


# Contenders come one after the other with the same kinds.
@lru_cache(maxsize=len(KINDS))
def _problem_of_kind(workload: Workload, kind: str, device: str) -> Problem:
    return make_problem(workload, device, kind=kind)


# The truth of lookups is the same for all contenders of a case.
_known: WeakKeyDictionary[Problem, dict[int, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


def _known_truth(problem: Problem, i: int) -> tuple[Tensor, Tensor]:
    """(rows to compare, their nearest codes) of batch i and the codebooks at the start."""
    known = _known.setdefault(problem, {})
    if i not in known:
        sample = sampled_rows(problem)
        rows = problem.batches[i].index_select(0, sample)
        known[i] = sample, nearest(rows, problem.codebooks)
    return known[i]


def _judged_indices(
    contender: Contender,
    problem: Problem,
    call: int,
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
    i = call % len(problem.batches)
    batch = problem.batches[i]
    if verb == "lookup" or call == 0:
        sample, truth = _known_truth(problem, i)
    else:
        sample = sampled_rows(problem)
        truth = nearest(batch.index_select(0, sample), books)
    rows = batch.index_select(0, sample)
    chosen = _on(found.indices, rows).index_select(0, sample)
    contract = contender.contract
    share, excess = compared(contract, rows, books, chosen, truth)
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


def _parts(problem: Problem, *packed: Tensor) -> list[tuple[Tensor, ...]]:
    """Packed tensors [B, sum D_q] -> per quantizer their columns."""
    ends = np.cumsum([0, *problem.workload.dims]).tolist()
    return [tuple(each[:, start:stop] for each in packed) for start, stop in pairwise(ends)]


def _largest(codes: Tensor) -> float:
    return max(float(codes.abs().max()), torch.finfo(torch.float32).tiny)


def _on(array: NDArray[Any], like: Tensor) -> Tensor:
    return torch.from_numpy(array).to(like.device)
