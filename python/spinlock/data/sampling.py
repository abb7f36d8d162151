"""Which rows ``max_samples`` keeps."""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 20


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
        keys = np.concatenate([best_keys, _hash(rows, seed)])
        rows = np.concatenate([best_rows, rows])
        if len(rows) > size:
            keep = np.argpartition(keys, size - 1)[:size]
            keys, rows = keys[keep], rows[keep]
        best_keys, best_rows = keys, rows
    return np.sort(best_rows)


def _hash(rows: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea, Flood 2014) of row number and seed: no two rows share a key."""
    offset = np.uint64((seed * 0xD1342543DE82EF95) & 0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        x = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + offset
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
