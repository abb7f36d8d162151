"""``ColumnNormaliser``: what ``Normaliser`` does, for runs that have no use for scikit-learn."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.analysis.statistics import (
    DEFAULT_CAPACITY,
    Moments,
    MomentsResult,
    RowReservoir,
    RowSample,
    column_mads,
    column_medians,
    row_blocks,
)
from spinlock.data.column_repair import NORMAL_MAD, RESOLUTION
from spinlock.data.fitted import parameter_names, parameters_of, require_fitted
from spinlock.data.matrix import (
    State,
    input_names,
    matrix_of,
    names_of,
    require_columns,
    require_finite,
    require_keys,
    require_no_holes,
)
from spinlock.errors import CheckpointError, ConfigError

METHODS = ("standard", "mad")

# A smaller scale that is rounding of the column's values too counts as 0: it is left unscaled.
SMALLEST_SCALE = 1e-8

_PIECE_BYTES = 1 << 25

Floats = NDArray[np.float64]


def robust_scale(rows: NDArray[Any], std: Floats) -> tuple[Floats, Floats]:
    """Median and 1.4826 MAD of each column of a sample [n, D]; ``std`` where the MAD is 0.

    >>> robust_scale(np.array([[1.0, 0.0], [2.0, 0.0], [9.0, 3.0]]), std=np.array([3.6, 1.4]))
    (array([2., 0.]), array([1.4826, 1.4   ]))
    """
    medians = column_medians(rows)
    mads = column_mads(rows, medians)
    return medians, np.where(mads > 0, NORMAL_MAD * mads, std)


class ColumnNormaliser:
    """:class:`~spinlock.data.normalisation.Normaliser` without scikit-learn's part of it."""

    def __init__(
        self,
        method: str = "standard",
        *,
        sample_rows: int = DEFAULT_CAPACITY,
        block_rows: int = 65_536,
        seed: int = 0,
    ) -> None:
        self.method = method
        self.sample_rows = sample_rows
        self.block_rows = block_rows
        self.seed = seed

    def fit(self, X: Any, y: object = None, *, names: Sequence[str] | None = None) -> Self:  # noqa: ARG002
        """Fit on cleaned training rows [N, D]: a matrix, a ``FeatureTable`` or a DataFrame.

        Raises:
            ConfigError: an unknown method.
            DataError: not a matrix of numbers, no rows, or values that are not finite.
        """
        features = matrix_of(X)
        given = names_of(X, names, features.shape[1])
        return self.fit_blocks(lambda: row_blocks(features, self.block_rows), given)

    def fit_blocks(
        self, blocks: Callable[[], Iterable[ArrayLike]], names: Sequence[str] | None = None
    ) -> Self:
        """Fit on blocks [n, D] of consecutive rows; ``blocks()`` is iterated once."""
        self._check_method()
        moments = Moments()
        reservoir = RowReservoir(self.sample_rows, self.seed)
        for block in blocks():
            if self.method == "mad":
                reservoir.update(block, first_row=moments.num_rows)
            moments.update(block)
        sample = reservoir.finalise() if self.method == "mad" else None
        return self.fit_statistics(moments.finalise(), sample, names)

    def fit_statistics(
        self,
        moments: MomentsResult,
        sample: RowSample | None = None,
        names: Sequence[str] | None = None,
    ) -> Self:
        """Fit from merged statistics; ``mad`` needs the row sample as well."""
        self._check_method()
        given = names_of(None, names, len(moments.count))
        require_no_holes(moments.non_finite, given, _CLEAN)
        std = moments.std
        if self.method == "standard":
            centre, scale = moments.mean, std
        elif sample is None:
            raise ConfigError("normalisation by 'mad' needs a row sample; none was given.")
        else:
            centre, scale = robust_scale(sample.rows, std)
        magnitude = np.maximum(np.abs(moments.minimum), np.abs(moments.maximum))
        constant = (scale < SMALLEST_SCALE) & (scale <= RESOLUTION * magnitude)
        return self._remember(given, centre, np.where(constant, 1.0, scale))

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Rows [n, D] -> float32 [n, D], normalised; blocks may be given one by one.

        Raises:
            DataError: another number of columns, other names, or values that are not finite.
        """
        features = self._checked(X)
        return self._mapped(features, lambda x: (x - self.center_) / self.scale_)

    def inverse_transform(self, X: Any) -> NDArray[np.float32]:
        """Normalised rows [n, D] -> float32 [n, D] in the columns' own units.

        ``inverse_transform(transform(x))`` differs from x by at most 2^-23 (|x| + |x - centre|),
        and by 2^-149 scale where z is below float32's normal range.
        """
        features = self._checked(X)
        return self._mapped(features, lambda z: z * self.scale_ + self.center_)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[Any]:
        """The names of the columns, unchanged, an object array [D]."""
        require_fitted(self, "scale_")
        return input_names(tuple(self.feature_names_in_), input_features)

    def to_state(self) -> dict[str, Any]:
        """All that ``from_state`` needs: arrays, and plain values in dicts and lists."""
        require_fitted(self, "scale_")
        return {
            "parameters": parameters_of(self),
            "names": list(self.feature_names_in_),
            "center": self.center_.copy(),
            "scale": self.scale_.copy(),
        }

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The fitted normaliser that ``to_state`` described.

        Raises:
            CheckpointError: a state that is incomplete or contradicts itself.
        """
        require_keys(state, ("parameters", "names", "center", "scale"), "the normaliser")
        names = tuple(str(name) for name in state["names"])
        centre, scale = (np.asarray(state[key], dtype=np.float64) for key in ("center", "scale"))
        unknown = set(state["parameters"]) - set(parameter_names(cls))
        shapes = centre.shape == scale.shape == (len(names),)
        if unknown or not shapes or not (scale > 0).all():
            raise CheckpointError(
                f"the saved state of the normaliser contradicts itself: {len(names)} names, "
                f"centres {list(centre.shape)}, scales {list(scale.shape)} (all must be above 0), "
                f"unknown parameters {sorted(unknown)}. Fit again, or load another checkpoint."
            )
        return cls(**state["parameters"])._remember(names, centre, scale)

    def _remember(self, names: tuple[str, ...], centre: Floats, scale: Floats) -> Self:
        self.n_features_in_ = len(names)
        self.feature_names_in_ = np.array(names, dtype=object)
        self.center_ = centre
        self.scale_ = scale
        return self

    def _check_method(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(
                f"normalization_method is {self.method!r}; expected one of {', '.join(METHODS)}."
            )

    def _checked(self, X: Any) -> NDArray[Any]:
        require_fitted(self, "scale_")
        names = tuple(self.feature_names_in_)
        features = matrix_of(X)
        require_columns(X, features, names, "the normaliser")
        require_finite(features, names, _CLEAN)
        return features

    def _mapped(
        self, features: NDArray[Any], change: Callable[[Floats], Floats]
    ) -> NDArray[np.float32]:
        result = np.empty(features.shape, dtype=np.float32)
        rows = max(1, _PIECE_BYTES // (8 * features.shape[1]))
        for start in range(0, len(features), rows):
            piece = slice(start, start + rows)
            with np.errstate(over="ignore"):
                result[piece] = change(features[piece].astype(np.float64))
            require_finite(result[piece], tuple(self.feature_names_in_), _OVERFLOW)
        return result


_OVERFLOW = "These are results beyond float32's range: cap the columns' outliers first."
_CLEAN = "Normalise cleaned features only: fit and apply the feature cleaner first."
