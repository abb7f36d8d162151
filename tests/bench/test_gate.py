"""The gate lets no wrong result through: each test breaks one thing of an honest contender."""

from dataclasses import replace

import pytest
import torch

from bench import gate, truth
from bench.peers.contender import Call, Contract, Outcome
from bench.peers.torch_loop import TorchLoop
from bench.problems import Problem, make_problem
from bench.workloads import Workload
from tampered_outcomes import (
    Change,
    Tampered,
    codes_not_a_number,
    commitment_not_a_number,
    commitment_slightly_off,
    fewer_codebooks,
    fewer_rows,
    gradient_not_a_number,
    half_quantized,
    negative_code,
    no_code,
    no_codebooks,
    no_gradient,
    no_quantized,
    not_a_number,
    one_code,
    one_gradient,
    one_index,
    one_value,
    other_batch,
    summed_commitment,
    unchanged,
)

WORKLOAD = Workload("ragged", "custom", (6, 33, 2, 17), (4, 9, 3, 20), 70)
VERBS = ("lookup", "train_step", "backward")


def judged(
    change: Change, verb: str, first: int = 0, contract: Contract = TorchLoop.contract
) -> gate.Verdict:
    problem = make_problem(WORKLOAD, past_bytes=1)
    contender = Tampered(change, first, contract)
    return gate.check(contender, verb, problem, getattr(contender, verb)(problem))


TRAINING = [
    (one_value, "quantizer 3: quantized rows are off"),
    (not_a_number, "quantizer 0: quantized rows are off"),
    (half_quantized, "quantized rows are off"),
    (no_quantized, "has to return quantized rows"),
    (summed_commitment, "quantizer 1: commitment"),
    (commitment_slightly_off, "quantizer 0: commitment"),
    (commitment_not_a_number, "quantizer 0: commitment"),
    (one_code, "codebook 3: updated codes are off"),
    (codes_not_a_number, "codebook 0: updated codes are off"),
    (fewer_codebooks, "has to return 4 codebooks"),
    (no_codebooks, "has to return 4 codebooks"),
]
INDICES = [
    (one_index, "are wrong, by up to"),
    (no_code, "name no code"),
    (negative_code, "name no code"),
    (fewer_rows, "expected the shape (70, 4), got (69, 4)"),
    (other_batch, "are wrong, by up to"),
]
CASES = [
    *((change, verb, note) for change, note in INDICES for verb in VERBS),
    *((change, verb, note) for change, note in TRAINING for verb in VERBS[1:]),
    (one_gradient, "backward", "quantizer 3: "),
    (gradient_not_a_number, "backward", "quantizer 0: "),
    (no_gradient, "backward", "has to return the gradient"),
]


@pytest.mark.parametrize("verb", VERBS)
def test_an_honest_contender_passes(verb: str) -> None:
    assert judged(unchanged, verb) == gate.Verdict(True, "", 0.0, 140)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("change", "verb", "note"), CASES, ids=[f"{case[0].__name__}-{case[1]}" for case in CASES]
)
def test_one_wrong_thing_is_refused(change: Change, verb: str, note: str, first: int) -> None:
    verdict = judged(change, verb, first)
    assert not verdict.passed
    assert note in verdict.note
    assert verdict.note.startswith("call 2: ") == (first == 1)


class WithoutCommitment(TorchLoop):
    """Its gradient is straight-through alone: off by a millionth, and wrong."""

    def backward(self, problem: Problem) -> Call:
        call = super().backward(problem)
        calls = 0

        def outcome(result: object) -> Outcome:
            nonlocal calls
            calls += 1
            upstream = problem.batches[calls % len(problem.batches)]
            return replace(call.outcome(result), gradient=upstream.numpy().copy())

        return Call(call.run, outcome)


@pytest.mark.parametrize("rows", [70, 4096])
def test_a_gradient_without_the_tiny_commitment_term_is_refused(rows: int) -> None:
    problem = make_problem(replace(WORKLOAD, num_rows=rows), past_bytes=1)
    contender = WithoutCommitment()
    verdict = gate.check(contender, "backward", problem, contender.backward(problem))
    assert not verdict.passed
    assert "differs from straight-through + commitment" in verdict.note


class ForgetfulAverages(TorchLoop):
    """Codes move as they should in the first step, statistics are thrown away."""

    def train_step(self, problem: Problem) -> Call:
        restarted = super().train_step
        call = restarted(problem)

        def run(i: int) -> Outcome:
            nonlocal call
            found = call.outcome(call.run(i))
            assert found.codebooks is not None
            # The codes of this step, with counts of one row per code again.
            codebooks = [torch.from_numpy(codes) for codes in found.codebooks]
            call = restarted(replace(problem, codebooks=codebooks))
            return found

        return Call(run, lambda found: found)


def test_statistics_that_the_first_step_loses_are_seen_in_the_second() -> None:
    problem = make_problem(WORKLOAD, past_bytes=1)
    contender = ForgetfulAverages()
    verdict = gate.check(contender, "train_step", problem, contender.train_step(problem))
    assert not verdict.passed
    assert verdict.note.startswith("call 2: codebook 0: updated codes are off")


def test_a_large_train_step_is_checked_once_and_its_lookup_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(gate._TWO_STEPS_VALUES, "cpu", 70 * WORKLOAD.input_width - 1)
    assert [judged(unchanged, verb).checked_rows for verb in VERBS] == [140, 70, 70]


@pytest.fixture
def ties() -> Problem:
    """Every code twice, at k and k + 8."""
    plain = make_problem(Workload("ties", "custom", (8,), (4,), 50))
    codes = plain.codebooks[0]
    workload = replace(plain.workload, codebook_sizes=(16,))
    return replace(plain, workload=workload, codebooks=[torch.cat([codes, codes])])


@pytest.mark.parametrize("exact", [True, False])
def test_the_lowest_index_has_to_win_only_where_that_is_promised(
    ties: Problem, exact: bool
) -> None:
    def second(found: Outcome) -> Outcome:
        return replace(found, indices=found.indices % 8 + 8)

    contender = Tampered(second, contract=Contract(exact=exact))
    verdict = gate.check(contender, "lookup", ties, contender.lookup(ties))
    assert verdict.passed != exact
    assert verdict.wrong == (1.0 if exact else 0.0)
    assert ("100.00% of 50 checked indices differ" in verdict.note) == exact


def test_indices_that_are_nearly_right_pass_by_their_excess() -> None:
    """One coarse enough contract allows what a fine one does not."""
    fine = judged(one_index, "lookup", contract=Contract(excess=1e-5))
    coarse = judged(one_index, "lookup", contract=Contract(excess=2.0))
    assert not fine.passed
    assert coarse.passed
    assert coarse.wrong == fine.wrong == 1 / 280


def test_where_the_truth_is_dear_some_rows_are_checked_with_both_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(truth, "_ELEMENTS", {"cpu": 1})
    workload = Workload("long", "custom", (33,), (9,), 5000)

    def last_one(found: Outcome) -> Outcome:
        found.indices[-1] = (found.indices[-1] + 1) % 33
        return found

    for change, passed in ((unchanged, True), (last_one, False)):
        problem = make_problem(workload, past_bytes=1)
        contender = Tampered(change)
        verdict = gate.check(contender, "lookup", problem, contender.lookup(problem))
        assert verdict.passed == passed
        # Of the first call, and where that passes of the second.
        assert verdict.checked_rows <= (128 if passed else 64)


def test_rates_count_what_is_wrong() -> None:
    def every_other_row(found: Outcome) -> Outcome:
        found.indices[::2] = (found.indices[::2] + 1) % [6, 33, 2, 17]
        return found

    rates = gate.wrong_rates(Tampered(every_other_row), WORKLOAD, ["mean 0", "mean 10"], "cpu")
    assert rates == {"mean 0": 0.5, "mean 10": 0.5}


def test_rates_show_what_float32_does_far_from_the_origin() -> None:
    rates = gate.wrong_rates(TorchLoop(), WORKLOAD, ["mean 0", "mean 1000"], "cpu")
    assert rates["mean 0"] == 0.0
    assert rates["mean 1000"] > 0.05
