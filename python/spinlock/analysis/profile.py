"""How variable, wide and redundant the features of a category are: four scores and a spectrum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.analysis._names import check_exact_keys
from spinlock.analysis.statistics import GramMatrix, GramResult
from spinlock.analysis.statistics.blocks import as_block
from spinlock.errors import ConfigError, DataError

SCORE_NAMES = ("variance_score", "dimensionality_score", "information_score", "correlation_score")

_LEADING_COMPONENTS = 5
_FULL_WIDTH = 100


# Digits of the scale-free scores: rounding in other units stays below them.
_SCALE_FREE_DIGITS = 9


@dataclass(frozen=True)
class CategoryProfile:
    """Four scores in [0, 1] of one category's features, as they are before normalisation.

    Of a scale-free profile the scores are those of the same features as z-scores, so that units do
    not count, and the variance, which would be 1, gives way to the effective rank: see
    :func:`effective_rank_score`.

    Attributes:
        name: the category.
        num_features: number n of its features.
        variance_score: median over the features of the population variance, clipped to [0, 1].
        dimensionality_score: log10(n + 1) / log10(101), clipped to 1 where n > 100.
        information_score: share of the variance in the first min(5, n) principal components;
            1 for 2 <= n <= 5, and 0.5 by convention for n = 1.
        correlation_score: mean of \\|Pearson r\\| over the pairs of features; a constant feature
            has r = 0 with every other; 0 for n = 1.
        spectrum: the n eigenvalues of the population covariance, descending, in squared units of
            the features; empty where only the scores are known.

    Raises:
        ConfigError: no features, a score outside [0, 1], or a spectrum of another length.
    """

    name: str
    num_features: int
    variance_score: float
    dimensionality_score: float
    information_score: float
    correlation_score: float
    spectrum: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.num_features < 1:
            raise ConfigError(
                f"category {self.name!r}: num_features must be >= 1, got {self.num_features}"
            )
        for key, score in self.scores().items():
            if isinstance(score, bool) or not isinstance(score, (int, float)):
                raise ConfigError(f"category {self.name!r}: {key} must be a number, got {score!r}")
            if not 0.0 <= score <= 1.0:
                raise ConfigError(f"category {self.name!r}: {key} must be in [0, 1], got {score!r}")
        if not all(isinstance(v, (int, float)) and 0.0 <= v < math.inf for v in self.spectrum):
            raise ConfigError(f"category {self.name!r}: the spectrum must be finite numbers >= 0")
        if self.spectrum and len(self.spectrum) != self.num_features:
            raise ConfigError(
                f"category {self.name!r}: the spectrum has {len(self.spectrum)} values for "
                f"{self.num_features} features"
            )

    def scores(self) -> dict[str, float]:
        """The four scores by name, in the published order."""
        return {key: getattr(self, key) for key in SCORE_NAMES}

    @classmethod
    def from_scores(
        cls, name: str, num_features: int, scores: Mapping[str, float]
    ) -> CategoryProfile:
        """A profile from stored scores, without a spectrum.

        >>> profile = CategoryProfile.from_scores("shape", 5, {
        ...     "variance_score": 1.0, "dimensionality_score": 0.388,
        ...     "information_score": 1.0, "correlation_score": 0.577})
        >>> profile.spectrum
        ()
        """
        check_exact_keys(f"metrics of category {name!r}", scores, SCORE_NAMES)
        variance, dimensionality, information, correlation = (scores[key] for key in SCORE_NAMES)
        return cls(name, num_features, variance, dimensionality, information, correlation)


def profile_category(name: str, features: Any, *, scale_free: bool = False) -> CategoryProfile:
    """Profile the features of one category.

    Args:
        name: the category, for messages and for the profile.
        features: [N, n] real numbers, N >= 2 rows, not normalised; scored in float64.
        scale_free: score them as z-scores.

    Raises:
        DataError: not a matrix, not numeric, empty, fewer than two rows, non-finite values, every
            feature constant, or values so large, or a feature that varies by so little, that the
            covariance does not fit float64 (beyond 1e140, less than 1e-140).

    >>> import numpy as np
    >>> profile = profile_category("pair", np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]))
    >>> [round(score, 3) for score in profile.scores().values()]
    [1.0, 0.238, 1.0, 1.0]
    >>> [round(value, 3) for value in profile.spectrum]
    [3.333, 0.0]
    """
    try:
        gram = GramMatrix().update(_checked_matrix(features)).finalise()
    except DataError as error:
        raise DataError(f"category {name!r}: {error}") from error
    return profile_from_gram(name, gram, scale_free=scale_free)


def profile_from_gram(
    name: str,
    gram: GramResult,
    columns: Sequence[int] | None = None,
    *,
    scale_free: bool = False,
) -> CategoryProfile:
    """The same profile from merged statistics, without a look at the rows.

    Args:
        name: the category, for messages and for the profile.
        gram: statistics of D columns.
        columns: the category's columns among the D; all of them where omitted.
        scale_free: score the columns as z-scores.

    Raises:
        DataError: fewer than two rows, no columns, rows skipped as non-finite, or every feature
            constant.
    """
    if gram.skipped_rows:
        raise DataError(
            f"category {name!r}: {gram.skipped_rows} rows hold non-finite values: clean the "
            "features before profiling them"
        )
    if gram.count < 2:
        raise DataError(f"category {name!r} needs at least 2 rows to be profiled, got {gram.count}")
    chosen = np.arange(len(gram.mean)) if columns is None else np.asarray(columns, dtype=np.intp)
    if chosen.size == 0:
        raise DataError(f"category {name!r} has no features: drop the category")
    covariance = gram.covariance[np.ix_(chosen, chosen)]
    variances = covariance.diagonal()
    if not variances.any():
        raise DataError(
            f"every one of the {len(chosen)} features of category {name!r} is constant, so it has "
            "no variance, principal components or correlation: let feature cleaning drop them"
        )
    correlation = gram.correlation[np.ix_(chosen, chosen)]
    scale = variances.max()
    if scale_free:
        # The covariance of z-scores; a constant feature has none.
        varying = variances > 0.0
        covariance, scale = correlation * np.outer(varying, varying), 1.0
    # Relative to the largest variance, so that no sum leaves the range of float64.
    spectrum = np.clip(np.linalg.eigvalsh(covariance / scale)[::-1], 0.0, None)
    variance = effective_rank_score(spectrum) if scale_free else _unit(np.median(variances))
    information = _information_score(spectrum)
    correlated = _correlation_score(correlation)
    if scale_free:
        variance, information, correlated = (
            round(score, _SCALE_FREE_DIGITS) for score in (variance, information, correlated)
        )
    return CategoryProfile(
        name=name,
        num_features=len(chosen),
        variance_score=variance,
        dimensionality_score=dimensionality_score(len(chosen)),
        information_score=information,
        correlation_score=correlated,
        spectrum=tuple((spectrum * scale).tolist()),
    )


def effective_rank_score(spectrum: ArrayLike) -> float:
    """(erank - 1) / (n - 1): 0 where one direction holds all variance, 1 where all hold alike.

    erank = exp(entropy of the spectrum as shares), the effective rank of Roy and Vetterli (2007,
    EUSIPCO).  0 for a single feature.

    >>> effective_rank_score([3.0, 0.0, 0.0]), round(effective_rank_score([1.0, 1.0, 1.0]), 9)
    (0.0, 1.0)
    """
    shares = np.asarray(spectrum, np.float64)
    if len(shares) < 2:
        return 0.0
    shares = shares[shares > 0.0] / shares.sum()
    rank = math.exp(-float((shares * np.log(shares)).sum()))
    return _unit((rank - 1.0) / (len(np.asarray(spectrum)) - 1))


def dimensionality_score(num_features: int) -> float:
    """log10(n + 1) / log10(101), at most 1: 0.5 lies just below 10 features, 0.8 below 40.

    >>> [round(dimensionality_score(n), 3) for n in (1, 5, 24, 31, 100, 5000)]
    [0.15, 0.388, 0.697, 0.751, 1.0, 1.0]
    """
    return min(1.0, math.log10(num_features + 1) / math.log10(_FULL_WIDTH + 1))


def _information_score(spectrum: NDArray[np.float64]) -> float:
    if len(spectrum) == 1:
        return 0.5
    if len(spectrum) <= _LEADING_COMPONENTS:
        return 1.0
    return _unit(spectrum[:_LEADING_COMPONENTS].sum() / spectrum.sum())


def _correlation_score(correlation: NDArray[np.float64]) -> float:
    count = len(correlation)
    if count == 1:
        return 0.0
    strength = np.abs(correlation)
    np.fill_diagonal(strength, 0.0)
    return _unit(strength.sum() / (count * (count - 1)))


def _unit(value: Any) -> float:
    return float(min(max(float(value), 0.0), 1.0))


def _checked_matrix(features: Any) -> NDArray[Any]:
    try:
        matrix = as_block(features, None)
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"the features are no matrix [N, n]: {error}") from error
    rows, columns = matrix.shape
    if rows < 2:
        raise DataError(f"at least 2 rows are needed for a profile, got {rows}")
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=0))
    if len(bad):
        raise DataError(
            f"{len(bad)} of {columns} features hold non-finite values, the first is column "
            f"{bad[0]}: clean the features before profiling them"
        )
    return matrix
