"""``FeatureCleaner``: raw columns to finite, capped, varying, distinct ones."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

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
from spinlock.data.cleaning_report import CleaningReport
from spinlock.data.cleaning_steps import Selection, Thresholds
from spinlock.data.column_repair import ColumnRepair, outlier_caps
from spinlock.data.indicators import MissingIndicators
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
from spinlock.data.restoration import ColumnRestoration
from spinlock.data.table import as_float32
from spinlock.errors import CheckpointError, DataError

Blocks = Callable[[], Iterable[ArrayLike]]


class FeatureCleaner(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Fills, caps and selects columns; fitted on training rows, applied to any.

    The order is fixed: NaN and infinities become the column's median; outliers are capped; then
    columns without variance, columns with extreme variance and near-duplicates are dropped, each
    judged on the filled and capped training rows. Medians and caps come from finite values only,
    exactly while there are at most ``sample_rows`` rows, and from a uniform sample above.

    Args:
        enabled: False keeps all columns and values as they are; values that are not finite are
            then an error.
        variance_threshold: columns with a variance (raw units squared) of at most this are
            dropped; so are those whose standard deviation is within float32's rounding, 2^-23 of
            their largest magnitude, whatever their units.
        max_variance_threshold: see ``max_cv_threshold``.
        max_cv_threshold: columns are dropped when their variance (raw units squared) exceeds
            ``max_variance_threshold`` and their coefficient of variation, std / mean |x|, exceeds
            this. The latter has no units, equals std / mean for positive columns and stays
            bounded for columns around 0.
        deduplicate_threshold: of columns with \\|Pearson r\\| above this, the one with fewer filled
            values is kept, then the one with more distinct values, then the earlier; 1 keeps all.
        outlier_method: ``percentile``, ``iqr``, ``mad`` or ``none``; see ``outlier_caps``.
        percentile_range: two percentiles, 0 <= low < high <= 100.
        iqr_multiplier: in interquartile ranges beyond the quartiles.
        mad_threshold: in standard deviations, each 1.4826 MAD, around the median.
        missing_indicators: add a column ``<name>@missing`` of 0 and 1 for every column that is
            missing in at least 1% and at most 99% of the rows; columns that are missing in the
            same rows share one. Rows come back from ``inverse_transform`` with their NaN.
        sample_rows: rows kept for medians, percentiles and distinct values.
        block_rows: rows of the blocks that ``fit`` cuts a matrix into.
        seed: of the row sample.

    Attributes:
        feature_names_in_: str [D].
        kept_: int64 [k], the raw columns that stay, ascending.
        repair_: medians and caps of those columns.
        restoration_: how the raw columns follow from them.
        indicators_: the columns of 0 and 1 behind them.
        report_: what each step did.

    >>> raw = np.array([[1.0, 5.0, 0.0], [np.nan, 5.0, 1.0], [3.0, 5.0, 4.0]], dtype=np.float32)
    >>> cleaner = FeatureCleaner(outlier_method="none").fit(raw, names=["a::x", "a::y", "a::z"])
    >>> cleaner.transform(raw).tolist(), cleaner.get_feature_names_out().tolist()
    ([[1.0, 0.0], [2.0, 1.0], [3.0, 4.0]], ['a::x', 'a::z'])
    >>> [f"{f.name}: {f.reason}" for f in cleaner.report_.dropped]
    ['a::y: constant']
    """

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
        return self._remember(names, repair.select(positions), restoration, indicators, report)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Rows [n, D] -> float32 [n, k + m], C-contiguous, finite; block by block if need be.

        The k columns that stay, and the m indicators.

        Raises:
            DataError: other columns than those of ``fit``; not finite where not ``enabled``.
        """
        check_is_fitted(self, "repair_")
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
        check_is_fitted(self, "repair_")
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
        check_is_fitted(self, "repair_")
        return tuple(self.feature_names_in_[~self.restoration_.known])

    def families_out(self, families: Sequence[str]) -> tuple[str, ...]:
        """The family of each cleaned column, from those of the raw ones; indicators included."""
        check_is_fitted(self, "repair_")
        return tuple(families[column] for column in (*self.kept_, *self.indicators_.columns))

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[Any]:
        """Names of the columns that ``transform`` returns, an object array [k + m]."""
        check_is_fitted(self, "repair_")
        names: NDArray[Any] = input_names(tuple(self.feature_names_in_), input_features)
        told = self.indicators_.names(tuple(names))
        return np.concatenate([names[self.kept_], np.array(told, dtype=object)])

    def to_state(self) -> dict[str, Any]:
        """All that ``from_state`` needs: arrays, and plain values in dicts and lists."""
        check_is_fitted(self, "repair_")
        parameters = self.get_params()
        parameters["percentile_range"] = [float(p) for p in self.percentile_range]
        return {
            "parameters": parameters,
            "names": list(self.feature_names_in_),
            "kept": self.kept_.copy(),
            "medians": self.repair_.medians.copy(),
            "lower": self.repair_.lower.copy(),
            "upper": self.repair_.upper.copy(),
            "restoration": self.restoration_.to_state(),
            "indicators": self.indicators_.to_state(),
            "report": self.report_.to_dict(),
        }

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The fitted cleaner that ``to_state`` described.

        Raises:
            CheckpointError: a state that is incomplete or contradicts itself.
        """
        require_keys(state, _STATE_KEYS, "the feature cleaner")
        unknown = set(state["parameters"]) - set(cls().get_params())
        repair = ColumnRepair(
            np.asarray(state["kept"], dtype=np.int64),
            *(np.asarray(state[k], dtype=np.float32) for k in ("medians", "lower", "upper")),
        )
        restoration = ColumnRestoration.from_state(state["restoration"])
        indicators = MissingIndicators.from_state(state["indicators"])
        width = len(state["names"])
        fits = (
            repair.fits(width)
            and restoration.fits(width, len(repair.columns))
            and indicators.fits(width)
        )
        if unknown or not fits:
            raise CheckpointError(
                "the saved state of the feature cleaner contradicts itself: "
                f"{len(state['names'])} names, {len(repair.columns)} kept columns, unknown "
                f"parameters {sorted(unknown)}. Fit again, or load another checkpoint."
            )
        cleaner = cls(**state["parameters"])
        report = CleaningReport.from_dict(state["report"])
        return cleaner._remember(tuple(state["names"]), repair, restoration, indicators, report)

    def _fit_disabled(self, result: MomentsResult, names: Sequence[str]) -> Self:
        given = names_of(None, names, len(result.count))
        require_no_holes(result.non_finite, given, _ENABLE)
        report = CleaningReport(result.num_rows, len(given), len(given), steps=())
        width = len(given)
        return self._remember(
            given,
            ColumnRepair.identity(width),
            ColumnRestoration.identity(width),
            MissingIndicators.none(width),
            report,
        )

    def _remember(
        self,
        names: tuple[str, ...],
        repair: ColumnRepair,
        restoration: ColumnRestoration,
        indicators: MissingIndicators,
        report: CleaningReport,
    ) -> Self:
        self.n_features_in_ = len(names)
        self.feature_names_in_ = np.array(names, dtype=object)
        self.kept_ = repair.columns
        self.repair_ = repair
        self.restoration_ = restoration
        self.indicators_ = indicators
        self.report_ = report
        return self


_STATE_KEYS = (
    "parameters", "names", "kept", "medians", "lower", "upper", "restoration", "indicators",
    "report",
)  # fmt: skip
_ENABLE = "Turn feature_cleaning.enabled on, or remove those values from the data."
