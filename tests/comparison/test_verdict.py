"""Every sentence that a verdict can be."""

import pytest

from spinlock.comparison.spread import PairedChange
from spinlock.comparison.verdict import percent, verdict

DOWN = PairedChange(-0.23, -0.31, -0.14, lower=3, higher=0, splits=3)
UP = PairedChange(0.12, 0.05, 0.20, lower=0, higher=3, splits=3)
SAME = PairedChange(-0.02, -0.08, 0.05, lower=2, higher=1, splits=3)
AGREED = PairedChange(-0.20, -0.45, 0.10, lower=3, higher=0, splits=3)
ALONE = PairedChange(-0.4, None, None, lower=1, higher=0, splits=1)


@pytest.mark.parametrize(
    ("worst", "mean", "begins"),
    [
        (DOWN, SAME, "new beats old: worst -23% in 3 of 3 seeds, beyond the seed spread"),
        (DOWN, DOWN, "new beats old: worst -23%"),
        (DOWN, UP, "new trades against old: worst -23%"),
        (UP, DOWN, "new trades against old: worst +12%"),
        (SAME, DOWN, "new beats old on the mean alone: worst -2%, within the seed spread"),
        (SAME, UP, "new is worse than old on the mean: "),
        (UP, SAME, "new is worse than old: worst +12% in 3 of 3 seeds"),
        (UP, UP, "new is worse than old: "),
        (SAME, SAME, "no difference beyond seed noise between new and old: worst -2%"),
        (ALONE, ALONE, "new against old: worst -40%, mean -40% on one split, of which no spread"),
    ],
)
def test_each_case(worst: PairedChange, mean: PairedChange, begins: str) -> None:
    said = verdict("new", "old", {"worst": worst, "mean": mean})
    assert said.startswith(begins)
    assert said.endswith(".")


def test_agreement_of_too_few_seeds_is_said_and_not_called_a_win() -> None:
    said = verdict("new", "old", {"worst": AGREED, "mean": SAME})
    assert said.startswith("no difference beyond seed noise")
    assert "lower in all 3 seeds, which are too few to be sure: give more." in said
    assert "too few" not in verdict("new", "old", {"worst": SAME, "mean": SAME})


def test_bits_that_are_not_equal_are_said() -> None:
    changes = {"worst": DOWN, "mean": SAME}
    assert "beats old (with 0.6 fewer bits):" in verdict("new", "old", changes, bits_over=-0.57)
    assert "(with 2.0 more bits)" in verdict("new", "old", changes, bits_over=2.0)
    assert "bits" not in verdict("new", "old", changes, bits_over=0.04)


def test_folds_are_called_splits() -> None:
    said = verdict("new", "old", {"worst": DOWN, "mean": SAME}, what="splits")
    assert "in 3 of 3 splits" in said


def test_nothing_to_compare_with_says_nothing() -> None:
    assert verdict("old", "old", {}) == ""


def test_equal_plans_are_called_equal() -> None:
    equal = PairedChange(0.0, 0.0, 0.0, lower=0, higher=0, splits=3)
    said = verdict("new", "old", {"worst": equal, "mean": equal})
    assert said == "new and old have the same errors on every split: their plans are the same."
    assert "same" not in verdict("new", "old", {"worst": equal, "mean": SAME})


def test_percentages() -> None:
    assert [percent(v) for v in (-0.5, 0.0094, 0.0096, 0.0)] == ["-50%", "+0.9%", "+1%", "+0.0%"]
