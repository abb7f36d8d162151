"""What decoded features are still good for: held-out scores of classifiers on raw and decoded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.utils.multiclass import type_of_target

from spinlock.comparison.measuring import Matrix

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: LogisticRegression(max_iter=300),
    "random forest": lambda: RandomForestClassifier(300, random_state=0),
}

# Beyond it a classifier costs more than the run that it judges.
MOST_ROWS = 20_000

Scores = dict[str, float]
Labels = NDArray[Any]


def usable_labels(training: Labels | None, held_out: Labels | None) -> bool:
    """Whether there are classes to learn: at least two on either side, and not one per row.

    >>> usable_labels(np.array([0, 1, 0, 1]), np.array([1, 0]))
    True
    >>> usable_labels(np.array([0.3, 1.7, 0.3, 1.7]), np.array([0.3, 1.7]))    # a quantity
    False
    """
    if training is None or held_out is None:
        return False
    if training.dtype.kind == "f" and not np.isfinite(training).all():
        return False
    kinds = {type_of_target(training), type_of_target(held_out)}
    return kinds <= {"binary", "multiclass"} and all(
        2 <= len(np.unique(part)) <= max(2, len(part) // 2) for part in (training, held_out)
    )


def raw_scores(
    training: Matrix, held_out: Matrix, labels: Labels, held_out_labels: Labels
) -> Scores:
    """:func:`score` per classifier on z-scored features as they are, fitted on training rows."""
    return {
        name: fit_and_score(name, training, held_out, labels, held_out_labels)
        for name in CLASSIFIERS
    }


def decoded_scores(
    raw: Mapping[str, float],
    training: Matrix,
    held_out: Matrix,
    labels: Labels,
    held_out_labels: Labels,
) -> dict[str, Scores]:
    """Per classifier the score on raw features beside that on decoded ones.

    Args:
        raw: of :func:`raw_scores` on the same rows.
        training, held_out: decoded rows, float32 ``[N, D]``.
        labels, held_out_labels: of these rows.
    """
    return {
        name: {
            "raw": raw[name],
            "decoded": fit_and_score(name, training, held_out, labels, held_out_labels),
        }
        for name in raw
    }


def fit_and_score(
    classifier: str, training: Matrix, held_out: Matrix, labels: Labels, held_out_labels: Labels
) -> float:
    """One classifier of ``CLASSIFIERS``, fitted on the first ``MOST_ROWS`` of shuffled rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = CLASSIFIERS[classifier]().fit(training[:MOST_ROWS], labels[:MOST_ROWS])
    return score(fitted, held_out, held_out_labels)


def score(fitted: Any, x: Any, labels: Labels) -> float:
    """Accuracy; for two classes, of which one may be rare, the area under the ROC curve."""
    if len(fitted.classes_) == 2 and np.isin(labels, fitted.classes_).all():
        return float(roc_auc_score(labels, fitted.predict_proba(x)[:, 1]))
    return float(accuracy_score(labels, fitted.predict(x)))
