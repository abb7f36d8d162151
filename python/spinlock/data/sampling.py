"""Which rows ``max_samples`` keeps."""

import numpy as np
from numpy.typing import NDArray

from spinlock.analysis.statistics.row_hash import splitmix64

_BLOCK = 1 << 20
# Odd, so that no two seeds below 2^64 start alike.
_SEED_STEP = 0xD1342543DE82EF95


def sample_rows(num_rows: int, size: int, seed: int) -> NDArray[np.int64]:
    """A uniform sample of ``size`` of the rows 0..num_rows-1, ascending, int64 [size].

    Rows are ranked by a hash of (seed, row), so that the sample is the same under every numpy
    version, and a smaller sample is part of a larger one of the same seed.

    >>> sample_rows(10, 3, seed=0).tolist(), sample_rows(10, 5, seed=0).tolist()
    ([0, 3, 5], [0, 3, 5, 7, 9])
    """
    best_keys = np.zeros(0, dtype=np.uint64)
    best_rows = np.zeros(0, dtype=np.int64)
    for start in range(0, num_rows, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, num_rows), dtype=np.int64)
        keys = np.concatenate([best_keys, splitmix64(rows, seed * _SEED_STEP)])
        rows = np.concatenate([best_rows, rows])
        if len(rows) > size:
            keep = np.argpartition(keys, size - 1)[:size]
            keys, rows = keys[keep], rows[keep]
        best_keys, best_rows = keys, rows
    return np.sort(best_rows)
