"""The suite of drop-in modules: right results are timed and weighed, wrong ones are refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.errors import Unavailable
from bench.measure.interleave import Budget
from bench.measure.memory import unknown_because
from bench.measure.noise import NoiseWatch
from bench.options import Options
from bench.peers.contender import Outcome
from bench.record import Row
from bench.suites.drop_in import VERBS, judged, measure, with_peak
from bench.suites.drop_in_cases import CONTENDERS, DropIn, DropInCase, make_problem

RESIDUAL = DropInCase("residual", 3, 12, 8, 2, 40, code_scale=0.5)
SINGLE = DropInCase("single", 1, 30, 4, 2, 50)
OPTIONS = Options((), budget=Budget(0.001, 0.001, min_samples=2, max_samples=2), memory=False)


def outcome(entrant: DropIn, case: DropInCase, verb: str) -> Outcome:
    try:
        call = getattr(entrant, VERBS[verb])(make_problem(case))
    except Unavailable as error:
        pytest.skip(str(error))
    found: Outcome = call.outcome(call.run(0))
    return found


@pytest.mark.parametrize("case", [RESIDUAL, SINGLE], ids=lambda case: case.name)
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("entrant", CONTENDERS, ids=lambda entrant: entrant.name)
def test_every_module_does_what_it_is_timed_for(
    entrant: DropIn, verb: str, case: DropInCase
) -> None:
    assert judged(entrant, make_problem(case), outcome(entrant, case, verb)) == ""


def _another_code(found: Outcome) -> Outcome:
    indices = found.indices.copy()
    indices[0, 0] = (indices[0, 0] + 1) % SINGLE.codebook_size
    return replace(found, indices=indices)


def _scaled(name: str) -> Callable[[Outcome], Outcome]:
    def spoil(found: Outcome) -> Outcome:
        value = getattr(found, name)
        wrong = [v * 1.01 for v in value] if isinstance(value, list) else value * 1.01
        return replace(found, **{name: wrong})

    return spoil


SPOILED = {
    "indices are wrong": _another_code,
    "loss": _scaled("commitment"),
    "updated codes": _scaled("codebooks"),
    "quantized rows": _scaled("quantized"),
    "gradient": _scaled("gradient"),
    "no code": lambda found: replace(found, indices=np.full_like(found.indices, 99)),
    "shape": lambda found: replace(found, quantized=found.quantized[1:]),
}


@pytest.mark.parametrize(("complaint", "spoil"), SPOILED.items(), ids=SPOILED)
def test_the_gate_refuses_a_wrong_result(
    complaint: str, spoil: Callable[[Outcome], Outcome]
) -> None:
    found = outcome(CONTENDERS[0], SINGLE, "train step")
    assert complaint in judged(CONTENDERS[0], make_problem(SINGLE), spoil(found))


def test_a_row_says_how_long() -> None:
    with NoiseWatch(1) as watch:
        rows = measure(SINGLE, "lookup", replace(OPTIONS, peers=["vector"]), watch)
    assert [row.contender for row in rows] == [each.name for each in CONTENDERS]
    for row in (row for row in rows if row.status == "ok"):
        assert [(t.clock, t.threads) for t in row.timings] == [("cpu", 1)]
        assert row.figures == {"MB of one distance matrix": pytest.approx(4e-6 * 100 * 30)}
    assert {row.status for row in rows} <= {"ok", "missing"}


def test_a_row_says_how_much_memory_or_why_not() -> None:
    large = replace(SINGLE, batch=1, time=1 << 18)
    row = with_peak(Row("drop-in", "x", "spinlock"), large, "lookup")
    if unknown_because() is not None:
        assert "no peak memory" in row.note
        return
    quantized, indices = 4 * large.num_rows * large.dim, 8 * large.num_rows
    assert row.figures["MB of a lookup"] >= 1e-6 * (quantized + indices)
    assert row.figures["MB of a lookup"] < 1e-6 * large.matrix_bytes
    failed = with_peak(Row("drop-in", "x", "nobody"), SINGLE, "lookup")
    assert failed.figures == {}
    assert "nobody" in failed.note


def test_peers_are_chosen_by_prefix() -> None:
    with NoiseWatch(1) as watch:
        rows = measure(SINGLE, "train step", replace(OPTIONS, peers=[]), watch)
    assert [row.contender for row in rows] == ["spinlock", "spinlock, changed import"]
    assert {row.status for row in rows} == {"ok"}
