"""``Normaliser``: cleaned columns to centred ones of unit scale, and back."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from spinlock.data.column_normaliser import (
    METHODS,
    SMALLEST_SCALE,
    ColumnNormaliser,
    robust_scale,
)

__all__ = ["METHODS", "SMALLEST_SCALE", "Normaliser", "robust_scale"]


class Normaliser(TransformerMixin, BaseEstimator, ColumnNormaliser):  # type: ignore[misc]
    """z = (x - centre) / scale per column, fitted on training rows, computed in float64.

    Args:
        method: ``standard``: mean and population standard deviation. ``mad``: median and
            1.4826 MAD, which is the standard deviation of a normal column; columns with a MAD of
            0, where more than half of the values are equal, take their standard deviation.
            Either way a scale becomes 1 that is below 1e-8 and within float32's rounding of the
            column's values, 2^-23 of the largest; in tiny units columns have tiny scales.
        sample_rows: rows kept for median and MAD; exact up to that many, a uniform sample above.
        block_rows: rows of the blocks that ``fit`` cuts a matrix into.
        seed: of the row sample.

    Attributes:
        center_, scale_: float64 [D].

    >>> x = np.array([[1.0, 4.0], [3.0, 4.0]], dtype=np.float32)
    >>> normaliser = Normaliser().fit(x)
    >>> normaliser.transform(x).tolist(), normaliser.inverse_transform([[2.0, 1.0]]).tolist()
    ([[-1.0, 0.0], [1.0, 0.0]], [[4.0, 5.0]])
    """

    def fit(self, X: Any, y: object = None, *, names: Sequence[str] | None = None) -> Self:
        """Fit on cleaned training rows [N, D]: a matrix, a ``FeatureTable`` or a DataFrame.

        Raises:
            ConfigError: an unknown method.
            DataError: not a matrix of numbers, no rows, or values that are not finite.
        """
        return ColumnNormaliser.fit(self, X, y, names=names)

    # scikit-learn wraps what the class itself defines, to return what set_output asks for.
    def transform(self, X: Any) -> NDArray[np.float32]:
        """Rows [n, D] -> float32 [n, D], normalised; blocks may be given one by one.

        Raises:
            DataError: another number of columns, other names, or values that are not finite.
        """
        return ColumnNormaliser.transform(self, X)
