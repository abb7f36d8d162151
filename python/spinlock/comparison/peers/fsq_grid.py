"""Which grid finite scalar quantization has per category at the bits of a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Error of the best quantizer of a unit Gaussian with 1, 2, .. levels (Max, IRE Transactions on
# Information Theory 6, 1960, table I); beyond it pi sqrt(3) / 2 / L^2 (Panter and Dite, 1951).
_MAX_ERROR = (1.0, 0.3634, 0.1902, 0.1175, 0.0799, 0.0580, 0.0440, 0.0345)


def scalar_error(levels: int) -> float:
    """Error of a scalar quantizer of a unit Gaussian with ``levels`` levels.

    >>> scalar_error(2), round(scalar_error(16), 4)
    (0.3634, 0.0106)
    """
    if levels <= len(_MAX_ERROR):
        return _MAX_ERROR[levels - 1]
    return math.pi * math.sqrt(3.0) / 2.0 / levels**2


def grid_levels(variances: ArrayLike, bits: float) -> tuple[int, ...]:
    """Levels L >= 2 of each leading component, whose product has at most ``bits`` bits.

    A level goes where it lowers the error most per bit, component by component: reverse
    water-filling in whole levels.  Components that get none are left out, so that at least one
    stays.

    Args:
        variances: of the category's principal components.
        bits: at least 1.

    >>> grid_levels([4.0, 1.0, 0.1], 5.0), grid_levels([1.0, 1.0], 2.0)
    ((8, 4), (2, 2))
    """
    order = np.sort(np.maximum(np.asarray(variances, dtype=np.float64).ravel(), 0.0))[::-1]
    levels = np.ones(len(order), dtype=np.int64)
    left = bits + 1e-9
    while True:
        cost = np.log2((levels + 1) / levels)
        gain = order * [scalar_error(n) - scalar_error(n + 1) for n in levels.tolist()]
        rate = np.where(cost <= left, gain / cost, -1.0)
        best = int(rate.argmax())
        if rate[best] < 0.0:
            break
        left -= cost[best]
        levels[best] += 1
    used = tuple(int(n) for n in levels if n > 1)
    return used or (2,)


def token_groups(levels: Sequence[int], count: int) -> tuple[tuple[int, ...], ...]:
    """Components side by side in ``count`` tokens of about as many bits each.

    With fewer components than tokens the last tokens are empty.

    >>> token_groups((8, 4, 3, 3, 2), 3), token_groups((8,), 2)
    (((0,), (1, 2), (3, 4)), ((0,), ()))
    """
    share = sum(map(math.log2, levels)) / count
    groups: list[list[int]] = [[]]
    spent = 0.0
    for place, size in enumerate(levels):
        bits = math.log2(size)
        # A component goes where its middle falls.
        if groups[-1] and len(groups) < count and spent + bits / 2 >= share * len(groups):
            groups.append([])
        groups[-1].append(place)
        spent += bits
    groups += [[] for _ in range(count - len(groups))]
    return tuple(map(tuple, groups))


def component_variances(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Variances of the principal components of ``x [N, n]``, in any order."""
    covariance = np.cov(x.T.astype(np.float64), bias=True)
    return np.linalg.eigvalsh(np.atleast_2d(covariance))
