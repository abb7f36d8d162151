"""Statistics of data beyond memory: ``update(block)``, ``merge(other)``, ``finalise()``.

Every class accumulates blocks of rows [n, D], merges with another instance that saw other rows of
the same data set, and ends in a frozen result. Instances are plain objects that pickle.
"""

from spinlock.analysis.statistics.blas import one_blas_thread
from spinlock.analysis.statistics.blocks import RowStatistic, accumulate, row_blocks
from spinlock.analysis.statistics.gram import GramMatrix, GramResult
from spinlock.analysis.statistics.moments import Moments, MomentsResult
from spinlock.analysis.statistics.order_statistics import (
    column_distinct,
    column_mads,
    column_medians,
    column_quantiles,
)
from spinlock.analysis.statistics.reservoir import (
    DEFAULT_CAPACITY,
    RowReservoir,
    RowSample,
    sample_ceiling,
)

__all__ = [
    "DEFAULT_CAPACITY",
    "GramMatrix",
    "GramResult",
    "Moments",
    "MomentsResult",
    "RowReservoir",
    "RowSample",
    "RowStatistic",
    "accumulate",
    "column_distinct",
    "column_mads",
    "column_medians",
    "column_quantiles",
    "one_blas_thread",
    "row_blocks",
    "sample_ceiling",
]
