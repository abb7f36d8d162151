"""Hashes of row numbers, by which rows are sampled alike in any order and on any machine."""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def splitmix64(numbers: NDArray[np.int64], start: int) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014) of the state ``start + number * golden gamma``.

    For one start (taken modulo 2^64) the map is one to one, so hashes of different rows never tie.
    Numbers 1, 2, ... give the published generator's outputs for the seed ``start``.

    >>> splitmix64(np.array([1, 2]), start=0).tolist()
    [16294208416658607535, 7960286522194355700]
    """
    x = numbers.astype(np.uint64) * _GOLDEN + np.uint64(start % 2**64)
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))
