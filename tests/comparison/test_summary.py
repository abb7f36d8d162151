"""Lines made of rows, against figures computed by hand."""

import math

import pytest

from spinlock.comparison.rows import Row
from spinlock.comparison.settings import comparison_settings
from spinlock.comparison.summary import FIGURES, summarise
from spinlock.training.metrics import EvaluationMetrics

SETTINGS = comparison_settings(strategies="uniform,balanced", peers="joint_rq", num_seeds=2)


def row(name: str, seed: int, worst: float, best: float, *, bits: float = 20.0) -> Row:
    metrics = EvaluationMetrics({"a": worst, "b": best}, 0.3, (0.5, 1.0), (2.0, 4.0), bits, 20, 3)
    accuracy = {"x": {"raw": 0.8, "decoded": 0.6}, "y": {"raw": 0.7, "decoded": 0.7}}
    return Row(
        name, seed, None, 20.0, 19.0, 1.1, metrics, 0.2, 1.76, 40, 100, 2, 5.0, accuracy, 80, 20
    )


def test_means_spreads_and_changes() -> None:
    rows = [row("uniform", 0, 0.4, 0.2), row("uniform", 1, 0.6, 0.2)]
    rows += [row("balanced", 1, 0.3, 0.1, bits=19.0), row("balanced", 0, 0.2, 0.1, bits=19.0)]
    uniform, balanced, joint = summarise(SETTINGS, rows)
    assert uniform.means["worst"] == pytest.approx(0.5)
    assert uniform.means["mean"] == pytest.approx(0.35)
    assert uniform.means["worst_over_best"] == pytest.approx(2.5)
    assert uniform.spreads["worst"] == pytest.approx(0.2 / math.sqrt(2))
    assert uniform.means["retention"] == pytest.approx(0.7 / 0.8)
    assert uniform.means["accuracy"] == pytest.approx(0.7)
    assert uniform.changes == {}
    assert uniform.verdict == ""
    assert balanced.changes["worst"].change == pytest.approx(-0.5)
    assert balanced.changes["worst"].low == pytest.approx(-0.5)  # the same on both seeds
    assert [r.seed for r in balanced.rows] == [0, 1]
    assert balanced.verdict.startswith("balanced beats uniform (with 1.0 fewer bits): worst -50%")
    assert joint.rows == ()
    assert set(joint.means.values()) == {None}
    assert set(uniform.means) == set(FIGURES)


def test_only_splits_that_both_have_are_compared() -> None:
    rows = [row("uniform", 0, 0.4, 0.2), row("balanced", 0, 0.2, 0.2), row("balanced", 1, 9.0, 9.0)]
    balanced = summarise(SETTINGS, rows)[1]
    assert balanced.changes["worst"].splits == 1
    assert balanced.changes["worst"].change == pytest.approx(-0.5)
    assert "no spread is known" in balanced.verdict


def test_rows_of_other_splits_are_left_out() -> None:
    uniform = summarise(SETTINGS, [row("uniform", 7, 0.4, 0.2), row("uniform", 0, 0.2, 0.2)])[0]
    assert uniform.means["worst"] == pytest.approx(0.2)
    assert len(uniform.rows) == 1


def test_a_row_that_did_not_run_has_a_note() -> None:
    rows = [row("uniform", 0, 0.4, 0.2), Row("joint_rq", 0, None, 20.0, note="no faiss")]
    joint = summarise(SETTINGS, rows)[2]
    assert joint.note == "no faiss"
    assert joint.rows == ()


def test_rows_survive_json() -> None:
    before = row("uniform", 0, 0.4, 0.2)
    after = Row.from_dict(before.to_dict())
    assert after == before
    assert before.to_dict()["bits_over"] == 0.0
    empty = Row("joint_rq", 0, 2, 20.0, note="no faiss")
    assert Row.from_dict(empty.to_dict()) == empty
    assert (empty.bits_over, empty.retention, empty.decoded_accuracy) == (None, None, None)
