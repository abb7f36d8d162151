"""The analysis suite: right results are timed, a wrong or failing one has no speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bench.suites.analysis import measure, run
from bench.suites.analysis_cases import (
    Case,
    cases,
    category_case,
    covariance_case,
    heavy_tailed,
    plan_case,
    quantile_case,
)


@dataclass
class Quick:
    quick: bool = True
    threads: int = 1
    peers: list[str] | None = None


def small(name: str) -> Case:
    table = heavy_tailed(600, 12)
    if name == "covariance":
        return covariance_case(table)
    if name == "quantiles":
        return quantile_case(table, capacity=300)
    return category_case(300, 30, 3) if name == "categories" else plan_case()


@pytest.mark.parametrize("name", ["profile", "categories", "covariance", "quantiles"])
def test_every_contender_is_right_and_timed(name: str) -> None:
    rows = measure(small(name), threads=2, rounds=2)
    assert [row.status for row in rows] == ["ok"] * len(rows), [row.note for row in rows]
    assert sum(row.contender.startswith("spinlock") for row in rows) < len(rows)
    for row in rows:
        assert [(t.clock, t.threads, t.samples) for t in row.timings] == [
            ("cpu", 1, 2),
            ("wall", 2, 2),
        ]
        assert set(row.timings[0].speedup) == {r.contender for r in rows} - {row.contender}


def spoil(result: Any) -> Any:
    """The same result, a little wrong."""
    if isinstance(result, list):
        return [tuple(sorted(result[0] + result[1])), *result[2:]]
    if isinstance(result, tuple):
        return (result[0] + 100.0 * np.abs(result[0]).max(), *result[1:])
    return result * (1.0 + 1e-3)


def spoiling(call: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: spoil(call())


@pytest.mark.parametrize("name", ["profile", "categories", "covariance", "quantiles"])
def test_the_gate_refuses_a_wrong_result(name: str) -> None:
    case = small(name)
    for victim, call in case.contenders.items():
        spoiled = {**case.contenders, victim: spoiling(call)}
        rows = {row.contender: row for row in measure(replace(case, contenders=spoiled), rounds=1)}
        assert rows[victim].status == "wrong", victim
        assert rows[victim].note
        assert not rows[victim].timings
        for other in rows.keys() - {victim}:
            assert rows[other].status == "ok"
            assert victim not in rows[other].timings[0].speedup


def test_not_a_number_is_wrong_and_an_exception_is_a_failure() -> None:
    case = small("covariance")

    def broken() -> Any:
        raise ValueError("no such\nthing")

    contenders = {
        "spinlock": case.contenders["spinlock"],
        "numpy.cov": lambda: np.full((12, 12), np.nan),
        "sklearn": broken,
    }
    own, other, failed = measure(replace(case, contenders=contenders), rounds=1)
    assert (own.status, other.status, failed.status) == ("ok", "wrong", "failed")
    assert failed.note == "ValueError: no such"


def test_peers_are_chosen_by_prefix() -> None:
    case = small("covariance")
    names = [row.contender for row in measure(case, rounds=1, peers=["numpy"])]
    assert names == ["spinlock", "numpy.cov"]
    assert [row.contender for row in measure(case, rounds=1, peers=[])] == ["spinlock"]


def test_a_quick_run_covers_all_cases() -> None:
    rows = list(run(Quick(peers=[])))
    assert {row.status for row in rows} == {"ok"}
    assert len({row.workload for row in rows}) == len(list(cases(quick=True))) == 5
