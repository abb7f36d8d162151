"""Labels that can be learned, and scores on raw and decoded features."""

import numpy as np
import pytest

from spinlock.comparison.downstream import (
    CLASSIFIERS,
    decoded_scores,
    fit_and_score,
    raw_scores,
    usable_labels,
)


@pytest.mark.parametrize(
    ("labels", "usable"),
    [
        (["cat", "dog"] * 5, True),
        ([0, 1] * 5, True),
        ([1.0, 2.0] * 5, True),
        ([0.5, 1.5] * 5, False),  # a quantity
        ([0.0, float("nan")] * 5, False),
        ([3] * 10, False),  # one class
        (list(range(10)), False),  # a number per row
    ],
)
def test_usable_labels(labels: list[object], usable: bool) -> None:
    array = np.array(labels)
    assert usable_labels(array, array) is usable


def test_no_labels() -> None:
    assert not usable_labels(None, None)


def test_what_decoding_destroys_is_seen() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    x = (rng.normal(size=(120, 5)) + 4 * np.eye(5)[labels]).astype(np.float32)
    parts = x[:80], x[80:]
    classes = labels[:80], labels[80:]
    raw = raw_scores(*parts, *classes)
    same = decoded_scores(raw, *parts, *classes)
    blank = decoded_scores(raw, *(np.zeros_like(p) for p in parts), *classes)
    for name in CLASSIFIERS:
        assert raw[name] > 0.9
        assert same[name] == {"raw": raw[name], "decoded": raw[name]}
        assert blank[name]["decoded"] < 0.6


def test_two_classes_are_ranked() -> None:
    """The area under the ROC curve: the share of pairs in the right order."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 2)).astype(np.float32)
    labels = (x[:, 0] + 0.5 * rng.normal(size=200) > 1.5).astype(int)
    found = fit_and_score("logistic regression", x[:120], x[120:], labels[:120], labels[120:])
    fitted = CLASSIFIERS["logistic regression"]().fit(x[:120], labels[:120])
    chance = fitted.predict_proba(x[120:])[:, 1]
    pairs = [(a > b) + 0.5 * (a == b) for a, p in zip(chance, labels[120:], strict=True) if p
             for b, q in zip(chance, labels[120:], strict=True) if not q]  # fmt: skip
    assert found == pytest.approx(np.mean(pairs))
