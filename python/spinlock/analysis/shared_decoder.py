"""How much of a category the codes of all categories together give back that its own do not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spinlock.analysis.curve_measurer import CurveMeasurer
from spinlock.analysis.operational_curve import Sizes
from spinlock.analysis.statistics import one_blas_thread

# Of the largest eigenvalue of the decoded features' covariance, or of their kernel matrix.
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)

Matrix = NDArray[np.float64]


def shared_decoder_shares(
    measurers: Mapping[str, CurveMeasurer], sizes: Mapping[str, Sizes]
) -> dict[str, float]:
    """Error with one linear decoder for all categories, over the error with a decoder for each.

    What a category's own codes leave is predicted, by ridge regression on the rows that codes were
    fitted to, from what the codes of all categories decode to; both errors are of held rows.
    Below 1 where categories have something in common.  A network with a shared decoder wins about
    as much, so that these shares tell in which categories bits are missing.

    Args:
        measurers: of all categories, on the same rows with the same seed.
        sizes: codebook sizes at which the shares are measured.

    >>> rng = np.random.default_rng(0)
    >>> common, other = rng.normal(size=(2, 400, 1))
    >>> rows = {"a": common, "b": common + 0.1 * rng.normal(size=(400, 1)), "c": other}
    >>> measurers = {name: CurveMeasurer(x, most_bits=6.0) for name, x in rows.items()}
    >>> shares = shared_decoder_shares(measurers, {"a": (2, 2), "b": (4, 4), "c": (4, 4)})
    >>> shares["a"] < 0.5, shares["c"] > 0.9
    (True, True)
    """
    names = list(measurers)
    own = np.zeros(len(names))
    shared = np.zeros((len(_RIDGES), len(names)))
    for fold in zip(*(measurers[name].decoded(sizes[name]) for name in names), strict=True):
        starts = np.cumsum([0, *(part.held.shape[1] for part in fold[:-1])])
        decoded = np.concatenate([part.fit_decoded for part in fold], axis=1, dtype=np.float64)
        missed = np.concatenate([part.fit - part.fit_decoded for part in fold], axis=1)
        held_decoded = np.concatenate([part.held_decoded for part in fold], axis=1)
        held_missed = np.concatenate([part.held - part.held_decoded for part in fold], axis=1)
        own += _by_category(held_missed, starts)
        guesses = _predictions(decoded, missed, held_decoded)
        for row, guess in zip(shared, guesses, strict=True):
            row += _by_category(held_missed - guess, starts)
    best = shared[shared.sum(axis=1).argmin()]
    return {
        name: float(with_all / alone) if alone > 0.0 else 1.0
        for name, with_all, alone in zip(names, best, own, strict=True)
    }


def _by_category(errors: NDArray[np.floating], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.add.reduceat((errors.astype(np.float64) ** 2).sum(axis=0), starts)


def _predictions(decoded: Matrix, missed: Matrix, held: Matrix) -> list[Matrix]:
    """Ridge regression of ``missed`` on ``decoded``, for held rows, one per ridge."""
    rows, width = decoded.shape
    with one_blas_thread():
        if width <= rows:
            values, axes = np.linalg.eigh(decoded.T @ decoded)
            targets, seen = axes.T @ (decoded.T @ missed), held @ axes
        else:
            values, axes = np.linalg.eigh(decoded @ decoded.T)
            targets, seen = axes.T @ missed, (held @ decoded.T) @ axes
        largest = float(values[-1])
        # Nothing was decoded: any scale predicts 0 then, unless a ridge times it vanishes.
        scale = largest if largest > 1e-300 else 1.0
        return [(seen / (np.maximum(values, 0.0) + ridge * scale)) @ targets for ridge in _RIDGES]
