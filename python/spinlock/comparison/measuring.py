"""From what tokens decode to, to figures: the same way for every contender."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.analysis.rate_distortion import gaussian_distortion
from spinlock.training.metrics import EvaluationMetrics, perplexity, utilization

Matrix = NDArray[np.float32]
_BLOCK_ROWS = 8_192


@dataclass(frozen=True, eq=False)
class Fitted:
    """A contender that was fitted on training rows, and what became of all rows.

    Attributes:
        decoded_training, decoded_held_out: float32 ``[N, D]`` and ``[M, D]``, z-units, as their
            tokens decode.
        held_out_tokens: integers ``[M, Q]``.
        codebook_sizes: K of each of the Q columns.
        dead_codes: never used over the last training epoch; over the training rows where there
            are no epochs.
        parameters: numbers that are learned.
        epochs: trained; 0 without training.
        seconds: of fitting.
    """

    decoded_training: Matrix
    decoded_held_out: Matrix
    held_out_tokens: NDArray[Any]
    codebook_sizes: tuple[int, ...]
    dead_codes: int
    parameters: int
    epochs: int
    seconds: float

    @property
    def bits(self) -> float:
        """Bits per row: the sum of log2 K."""
        return math.fsum(map(math.log2, self.codebook_sizes))


def measured(
    fitted: Fitted, held_out: Matrix, categories: Sequence[tuple[str, int]]
) -> EvaluationMetrics:
    """Errors per category and use of the codes on held-out rows ``[M, D]``.

    Args:
        fitted: the contender.
        held_out: what its tokens stand for, z-units, grouped by category.
        categories: (name, number of features) in order.

    >>> x = np.array([[1.0, 0.0, 2.0], [-1.0, 0.0, 0.0]], dtype=np.float32)
    >>> decoded = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 1.0]], dtype=np.float32)
    >>> fitted = Fitted(decoded, decoded, np.array([[0, 1], [0, 0]]), (2, 2), 1, 9, 0, 0.1)
    >>> found = measured(fitted, x, [("shape", 2), ("colour", 1)])
    >>> found.category_mse, found.utilization_per_quantizer, found.bits
    ({'shape': 0.5, 'colour': 0.5}, (0.5, 1.0), 2.0)
    """
    per_feature = squared_errors(held_out, fitted.decoded_held_out)
    ends = np.cumsum([size for _, size in categories])
    by_category = np.split(per_feature, ends[:-1])
    counts = [
        np.bincount(column, minlength=size)
        for column, size in zip(fitted.held_out_tokens.T, fitted.codebook_sizes, strict=True)
    ]
    return EvaluationMetrics(
        category_mse={
            name: float(errors.mean())
            for (name, _), errors in zip(categories, by_category, strict=True)
        },
        feature_mse=float(per_feature.mean()),
        utilization_per_quantizer=tuple(utilization(count) for count in counts),
        perplexity=tuple(perplexity(count) for count in counts),
        bits=fitted.bits,
        rows=len(held_out),
        dead_codes=fitted.dead_codes,
        dead_share=fitted.dead_codes / sum(fitted.codebook_sizes),
    )


def squared_errors(x: Matrix, decoded: Matrix) -> NDArray[np.float64]:
    """Mean squared error per column ``[D]``, in float64."""
    total = np.zeros(x.shape[1])
    for start in range(0, len(x), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        total += np.square(decoded[rows].astype(np.float64) - x[rows]).sum(axis=0)
    return total / len(x)


def unused_codes(tokens: NDArray[Any], codebook_sizes: Sequence[int]) -> int:
    """Codes that no row ``[N, Q]`` has chosen, over all codebooks.

    >>> unused_codes(np.array([[0, 1], [0, 0]]), (2, 3))
    2
    """
    return sum(
        size - len(np.unique(column)) for column, size in zip(tokens.T, codebook_sizes, strict=True)
    )


def spectrum(train: Matrix) -> NDArray[np.float64]:
    """Eigenvalues of the covariance of training rows ``[N, D]``, all features together."""
    covariance = np.cov(train.T.astype(np.float64), bias=True)
    return np.linalg.eigvalsh(np.atleast_2d(covariance))


def gaussian_gap(
    metrics: EvaluationMetrics, eigenvalues: NDArray[np.float64]
) -> tuple[float, float | None]:
    """D(R) of all features together at the row's bits, and the error's distance from it in dB.

    G = 10 log10(mean error per feature / D(R)); None where D(R) or the error is 0.  Below 0 dB is
    better than any code of a Gaussian could be, which real data allow.
    """
    bound = gaussian_distortion(eigenvalues, metrics.bits)
    if bound <= 0.0 or metrics.feature_mse <= 0.0:
        return bound, None
    return bound, 10.0 * math.log10(metrics.feature_mse / bound)
