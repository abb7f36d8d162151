"""What a Gaussian with a given spectrum would lose at a number of bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.errors import DataError


def gaussian_distortion(spectrum: ArrayLike, bits: float) -> float:
    """D(R): the least mean squared error per feature at which ``bits`` describe a Gaussian row.

    Reverse water-filling (Cover and Thomas, Elements of Information Theory, 10.3.3): components
    above the water level t are described down to t, the others not at all;
    R = sum max(0, 1/2 log2(lambda_i / t)), D = mean min(t, lambda_i).  Of all sources with these
    variances the Gaussian is the hardest, so real codes may fall below it.

    Args:
        spectrum: n eigenvalues of the features' covariance, in any order; rounding below 0 is 0.
        bits: R >= 0, per row.

    Raises:
        DataError: no eigenvalue, one that is not finite, or negative bits.

    >>> gaussian_distortion([4.0, 1.0], 0.0), gaussian_distortion([4.0, 1.0], 1.0)
    (2.5, 1.0)
    >>> gaussian_distortion([4.0, 1.0], 3.0)
    0.25
    """
    values = _checked(spectrum, bits)
    return float(np.minimum(values, water_level(values, bits)).mean())


def water_level(spectrum: ArrayLike, bits: float) -> float:
    """The error t up to which ``bits`` describe each component; see :func:`gaussian_distortion`.

    The largest eigenvalue at 0 bits; 0 where there is no variance.

    >>> water_level([4.0, 1.0], 1.0), water_level([4.0, 1.0], 3.0)
    (1.0, 0.25)
    """
    values = _checked(spectrum, bits)
    positive = np.log2(np.sort(values[values > 0.0])[::-1])
    if len(positive) == 0:
        return 0.0
    # Level when exactly the first k components stand above it, as log2.
    levels = (np.cumsum(positive) - 2.0 * bits) / np.arange(1, len(positive) + 1)
    fits = np.flatnonzero(levels <= positive)
    # Rounding may leave no k at 0 bits.
    return float(np.exp2(levels[fits[-1]] if len(fits) else positive[0]))


def _checked(spectrum: ArrayLike, bits: float) -> NDArray[np.float64]:
    values = np.maximum(np.asarray(spectrum, dtype=np.float64).ravel(), 0.0)
    if len(values) == 0 or not np.isfinite(values).all() or not bits >= 0.0:
        raise DataError(
            f"a rate-distortion reference needs finite eigenvalues and bits >= 0, got "
            f"{len(values)} eigenvalues and {bits} bits"
        )
    return values
