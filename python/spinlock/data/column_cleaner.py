"""``ColumnCleaner``: what ``FeatureCleaner`` does, for runs that have no use for scikit-learn."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.analysis.statistics import DEFAULT_CAPACITY, MomentsResult, accumulate, row_blocks
from spinlock.data.cleaning_parameters import check_parameters
from spinlock.data.cleaning_passes import (
    FiniteMoments,
    RawColumns,
    RawColumnsPass,
    RepairedColumns,
    RepairedColumnsPass,
    RunPass,
)
from spinlock.data.cleaning_state import FittedCleaning
from spinlock.data.cleaning_steps import Selection, Thresholds
from spinlock.data.column_repair import ColumnRepair, outlier_caps
from spinlock.data.fitted import parameter_names, parameters_of, require_fitted
from spinlock.data.indicators import MissingIndicators
from spinlock.data.matrix import (
    State,
    input_names,
    matrix_of,
    names_of,
    require_columns,
    require_finite,
    require_no_holes,
)
from spinlock.data.restoration import ColumnRestoration
from spinlock.data.table import as_float32
from spinlock.errors import DataError

Blocks = Callable[[], Iterable[ArrayLike]]


class ColumnCleaner:
    """:class:`~spinlock.data.cleaning.FeatureCleaner` without scikit-learn's part of it."""

    def __init__(
        self,
        *,
        enabled: bool = True,
        variance_threshold: float = 1e-16,
        max_variance_threshold: float = 1e10,
        max_cv_threshold: float = 10.0,
        deduplicate_threshold: float = 0.99,
        outlier_method: str = "percentile",
        percentile_range: Sequence[float] = (0.5, 99.5),
        iqr_multiplier: float = 3.0,
        mad_threshold: float = 5.0,
        missing_indicators: bool = False,
        sample_rows: int = DEFAULT_CAPACITY,
        block_rows: int = 65_536,
        seed: int = 0,
    ) -> None:
        self.enabled = enabled
        self.variance_threshold = variance_threshold
        self.max_variance_threshold = max_variance_threshold
        self.max_cv_threshold = max_cv_threshold
        self.deduplicate_threshold = deduplicate_threshold
        self.outlier_method = outlier_method
        self.percentile_range = percentile_range
        self.iqr_multiplier = iqr_multiplier
        self.mad_threshold = mad_threshold
        self.missing_indicators = missing_indicators
        self.sample_rows = sample_rows
        self.block_rows = block_rows
        self.seed = seed

    def fit(self, X: Any, y: object = None, *, names: Sequence[str] | None = None) -> Self:  # noqa: ARG002
        """Fit on training rows [N, D]: a matrix, a ``FeatureTable`` or a DataFrame of numbers.

        Raises:
            ConfigError: a parameter out of its range.
            DataError: not a matrix of numbers, no rows, or no column left.
        """
        features = matrix_of(X)
        given = names_of(X, names, features.shape[1])
        return self.fit_blocks(lambda: row_blocks(features, self.block_rows), given)

    def fit_blocks(self, blocks: Blocks, names: Sequence[str]) -> Self:
        """Fit on blocks [n, D] of consecutive rows; ``blocks()`` is iterated twice."""
        return self.fit_passes(lambda make: accumulate(make(), blocks()), names)

    def fit_passes(self, run: RunPass, names: Sequence[str], *, ceiling: int | None = None) -> Self:
        """Fit by passes over the training rows, wherever they are read.

        Args:
            run: given what makes an empty statistic, gives it back with all rows of the data set
                [N, D] in it, merged of as many as it likes.
            names: D column names.
            ceiling: ``sample_ceiling`` of N rows, ``sample_rows`` and ``seed``, where N is known.
        """
        check_parameters(self)
        if not self.enabled:
            return self._fit_disabled(run(FiniteMoments).finalise(), names)
        raw = run(partial(self.raw_pass, ceiling)).finalise()
        given = names_of(None, names, len(raw.moments.count))
        repair = self.plan_repair(raw)
        repaired = run(partial(self.repaired_pass, repair, raw.moments)).finalise()
        return self.conclude(given, raw, repair, repaired)

    def raw_pass(self, ceiling: int | None = None) -> RawColumnsPass:
        """The mergeable statistic of the first pass."""
        return RawColumnsPass(self.sample_rows, self.seed, ceiling)

    def plan_repair(self, raw: RawColumns) -> ColumnRepair:
        """Medians and caps of the columns that hold finite values, from the first pass."""
        rows = raw.sample.rows
        columns = np.flatnonzero(np.isfinite(rows).any(axis=0))
        if columns.size == 0:
            raise DataError(
                f"none of the {rows.shape[1]} columns holds a finite value in the training rows; "
                "check how the data set was written."
            )
        low, high = self.percentile_range
        lower, upper = outlier_caps(
            rows[:, columns],
            self.outlier_method,
            percentile_range=(low, high),
            iqr_multiplier=self.iqr_multiplier,
            mad_threshold=self.mad_threshold,
        )
        return ColumnRepair.fitted(columns, rows, lower, upper)

    def repaired_pass(self, repair: ColumnRepair, raw: MomentsResult) -> RepairedColumnsPass:
        """The mergeable statistic of the second pass, given the moments of the first."""
        holes = raw.non_finite
        told = np.flatnonzero((holes > 0) & (holes < raw.num_rows))
        return RepairedColumnsPass(
            repair,
            correlate=self.deduplicate_threshold < 1.0,
            masked=told if self.missing_indicators else told[:0],
        )

    def conclude(
        self,
        names: tuple[str, ...],
        raw: RawColumns,
        repair: ColumnRepair,
        repaired: RepairedColumns,
    ) -> Self:
        """Choose the columns from both passes; the last step of every way to fit."""
        selection = Selection(names, raw, repair, repaired)
        thresholds = Thresholds(
            variance=self.variance_threshold,
            max_variance=self.max_variance_threshold,
            max_cv=self.max_cv_threshold,
            duplicate=self.deduplicate_threshold,
        )
        positions, report = selection.run(thresholds, self.outlier_method)
        restoration = ColumnRestoration.fitted(
            len(names), repair, repaired, positions, selection.constant, selection.partners
        )
        indicators = MissingIndicators.none(len(names))
        if repaired.masks is not None:
            indicators = MissingIndicators.fitted(
                len(names), repaired.masked, repaired.masks, self.deduplicate_threshold
            )
        return self._remember(
            FittedCleaning(names, repair.select(positions), restoration, indicators, report)
        )

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Rows [n, D] -> float32 [n, k + m], C-contiguous, finite; block by block if need be.

        The k columns that stay, and the m indicators.

        Raises:
            DataError: other columns than those of ``fit``; not finite where not ``enabled``.
        """
        require_fitted(self, "repair_")
        names = tuple(self.feature_names_in_)
        features = matrix_of(X)
        require_columns(X, features, names, "the feature cleaner")
        if not self.enabled:
            # Judged as float32: what lies beyond its range must not count as finite.
            features = as_float32(features, "the feature matrix")
            require_finite(features, names, _ENABLE)
        kept = self.repair_.apply(features)
        if self.indicators_.columns.size == 0:
            return kept
        return np.concatenate([kept, self.indicators_.apply(features)], axis=1)

    def inverse_transform(self, X: Any) -> NDArray[np.float32]:
        """Cleaned rows [n, k + m] -> all raw columns, float32 [n, D].

        Columns that stayed come back as they are; constant ones as their value; duplicates by
        the least-squares line on the column that they repeat; those of ``unrecoverable_`` as their
        median, or NaN where they never had a value. NaN stands where an indicator is above one
        half.

        Raises:
            DataError: another number of columns.
        """
        require_fitted(self, "repair_")
        cleaned = matrix_of(X)
        width, count = len(self.kept_), len(self.indicators_.columns)
        if cleaned.shape[1] != width + count:
            raise DataError(
                f"cleaned rows have {cleaned.shape[1]} columns; the feature cleaner makes "
                f"{width + count}."
            )
        raw = self.restoration_.apply(as_float32(cleaned[:, :width], "cleaned rows"))
        self.indicators_.erase(raw, as_float32(cleaned[:, width:], "cleaned rows"))
        return raw

    @property
    def unrecoverable_(self) -> tuple[str, ...]:
        """Raw columns whose values ``inverse_transform`` cannot give back."""
        require_fitted(self, "repair_")
        return tuple(self.feature_names_in_[~self.restoration_.known])

    def families_out(self, families: Sequence[str]) -> tuple[str, ...]:
        """The family of each cleaned column, from those of the raw ones; indicators included."""
        require_fitted(self, "repair_")
        return tuple(families[column] for column in (*self.kept_, *self.indicators_.columns))

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[Any]:
        """Names of the columns that ``transform`` returns, an object array [k + m]."""
        require_fitted(self, "repair_")
        names: NDArray[Any] = input_names(tuple(self.feature_names_in_), input_features)
        told = self.indicators_.names(tuple(names))
        return np.concatenate([names[self.kept_], np.array(told, dtype=object)])

    def to_state(self) -> dict[str, Any]:
        """All that ``from_state`` needs: arrays, and plain values in dicts and lists."""
        require_fitted(self, "repair_")
        parameters = parameters_of(self)
        parameters["percentile_range"] = [float(p) for p in self.percentile_range]
        fitted = FittedCleaning(
            tuple(self.feature_names_in_),
            self.repair_,
            self.restoration_,
            self.indicators_,
            self.report_,
        )
        return fitted.to_state(parameters)

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The fitted cleaner that ``to_state`` described.

        Raises:
            CheckpointError: a state that is incomplete or contradicts itself.
        """
        fitted = FittedCleaning.from_state(state, parameter_names(cls))
        return cls(**state["parameters"])._remember(fitted)

    def _fit_disabled(self, result: MomentsResult, names: Sequence[str]) -> Self:
        given = names_of(None, names, len(result.count))
        require_no_holes(result.non_finite, given, _ENABLE)
        return self._remember(FittedCleaning.identity(given, result.num_rows))

    def _remember(self, fitted: FittedCleaning) -> Self:
        self.n_features_in_ = len(fitted.names)
        self.feature_names_in_ = np.array(fitted.names, dtype=object)
        self.kept_ = fitted.repair.columns
        self.repair_ = fitted.repair
        self.restoration_ = fitted.restoration
        self.indicators_ = fitted.indicators
        self.report_ = fitted.report
        return self


_ENABLE = "Turn feature_cleaning.enabled on, or remove those values from the data."
