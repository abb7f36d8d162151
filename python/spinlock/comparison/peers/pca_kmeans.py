"""Per category PCA and residual k-means: what is reached without a network."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from spinlock.analysis.compression_plan import CategoryPlan, CompressionPlan
from spinlock.analysis.statistics import one_blas_thread
from spinlock.comparison.measuring import Fitted, Matrix, unused_codes
from spinlock.errors import DataError

# k-means of more rows gives no better codes and takes longer.
MOST_ROWS = 65_536
_STEPS = 50


@dataclass(frozen=True, eq=False)
class CategoryCodec:
    """PCA and one codebook per level, each for what the levels before it missed.

    Attributes:
        mean: ``[n]``.
        axes: ``[n, d]``, orthonormal columns, largest variance first.
        codebooks: per level ``[K, d]``.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    codebooks: tuple[NDArray[np.float64], ...]

    def encode(self, x: Matrix) -> NDArray[np.int64]:
        """Rows ``[B, n]`` to tokens ``[B, levels]``: the nearest code of each level."""
        residual = (x - self.mean) @ self.axes
        tokens = []
        for codes in self.codebooks:
            found = nearest(residual, codes)
            residual = residual - codes[found]
            tokens.append(found)
        return np.stack(tokens, axis=1)

    def decode(self, tokens: NDArray[np.int64]) -> Matrix:
        """Tokens ``[B, levels]`` to rows ``[B, n]``, float32."""
        total = sum(codes[column] for codes, column in zip(self.codebooks, tokens.T, strict=True))
        return np.asarray(total @ self.axes.T + self.mean, dtype=np.float32)


def fit_pca_kmeans(train: Matrix, held_out: Matrix, plan: CompressionPlan, seed: int) -> Fitted:
    """Fits a codec per category with the plan's codebook sizes.

    Args:
        train: ``[N, D]`` z-scored, grouped by category as in the plan.
        held_out: ``[M, D]``.
        plan: its codebook sizes are used as they are, its largest latent dims as PCA's.
        seed: of k-means++.

    Raises:
        DataError: fewer training rows than a codebook has codes.
    """
    started = time.perf_counter()
    starts = np.cumsum([0, *(category.num_features for category in plan.categories)])
    decoded: list[list[Matrix]] = [[], []]
    tokens: list[list[NDArray[np.int64]]] = [[], []]
    parameters = 0
    for category, start in zip(plan.categories, starts[:-1], strict=True):
        columns = slice(start, start + category.num_features)
        codec = fit_category(train[:, columns], category, seed)
        for side, rows in enumerate((train, held_out)):
            found = codec.encode(rows[:, columns])
            tokens[side].append(found)
            decoded[side].append(codec.decode(found))
        parameters += codec.mean.size + codec.axes.size + sum(c.size for c in codec.codebooks)
    sizes = tuple(size for levels in plan.codebook_sizes for size in levels)
    return Fitted(
        decoded_training=np.concatenate(decoded[0], axis=1),
        decoded_held_out=np.concatenate(decoded[1], axis=1),
        held_out_tokens=np.concatenate(tokens[1], axis=1),
        codebook_sizes=sizes,
        dead_codes=unused_codes(np.concatenate(tokens[0], axis=1), sizes),
        parameters=parameters,
        epochs=0,
        seconds=time.perf_counter() - started,
    )


def fit_category(x: Matrix, category: CategoryPlan, seed: int) -> CategoryCodec:
    """The codec of one category from its training rows ``[N, n]``.

    >>> from spinlock.analysis.plan import LevelPlan
    >>> x = np.array([[0, 0], [0, 1], [4, 0], [4, 1]], dtype=np.float32)
    >>> plan = CategoryPlan("a", 2, None, (1.0, 1.0), (LevelPlan(2, 4, 2), LevelPlan(2, 4, 2)))
    >>> codec = fit_category(x, plan, seed=0)
    >>> bool(np.abs(codec.decode(codec.encode(x)) - x).max() < 1e-6)
    True
    """
    rows = x[:MOST_ROWS].astype(np.float64)
    mean = rows.mean(axis=0)
    with one_blas_thread():
        centred = rows - mean
        covariance = centred.T @ centred / len(rows)
        width = min(category.num_features, max(v.latent_dim for v in category.levels))
        axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :width]
        residual = centred @ axes
        codebooks = []
        for level in category.levels:
            codes = lloyd(residual, level.num_tokens, seed, category.name)
            residual = residual - codes[nearest(residual, codes)]
            codebooks.append(codes)
    return CategoryCodec(mean, axes, tuple(codebooks))


def lloyd(x: NDArray[np.float64], count: int, seed: int, name: str) -> NDArray[np.float64]:
    """``count`` codes ``[K, d]`` by k-means++ and Lloyd's steps.

    Raises:
        DataError: fewer rows than codes.
    """
    if len(x) < count:
        raise DataError(
            f"pca_kmeans: category '{name}' has a codebook of {count} codes and {len(x)} training "
            "rows: lower --bits, or leave the peer out with --peers"
        )
    with warnings.catch_warnings():
        # Fewer distinct rows than codes: some codes are then equal, and dead.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(count, n_init=1, max_iter=_STEPS, random_state=seed).fit(x)
    return np.asarray(fitted.cluster_centers_, dtype=np.float64)


def nearest(x: NDArray[np.float64], codes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the nearest of ``codes [K, d]`` for each row of ``x [B, d]``."""
    found = np.empty(len(x), dtype=np.int64)
    half = 0.5 * np.square(codes).sum(axis=1)
    with one_blas_thread():
        for start in range(0, len(x), 8_192):
            rows = slice(start, start + 8_192)
            found[rows] = (half - x[rows] @ codes.T).argmin(axis=1)
    return found
