"""``FeatureCleaner``: raw columns to finite, capped, varying, distinct ones."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from spinlock.data.column_cleaner import ColumnCleaner


class FeatureCleaner(TransformerMixin, BaseEstimator, ColumnCleaner):  # type: ignore[misc]
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

    def fit(self, X: Any, y: object = None, *, names: Sequence[str] | None = None) -> Self:
        """Fit on training rows [N, D]: a matrix, a ``FeatureTable`` or a DataFrame of numbers.

        Raises:
            ConfigError: a parameter out of its range.
            DataError: not a matrix of numbers, no rows, or no column left.
        """
        return ColumnCleaner.fit(self, X, y, names=names)

    # scikit-learn wraps what the class itself defines, to return what set_output asks for.
    def transform(self, X: Any) -> NDArray[np.float32]:
        """Rows [n, D] -> float32 [n, k + m], C-contiguous, finite; block by block if need be.

        The k columns that stay, and the m indicators.

        Raises:
            DataError: other columns than those of ``fit``; not finite where not ``enabled``.
        """
        return ColumnCleaner.transform(self, X)
