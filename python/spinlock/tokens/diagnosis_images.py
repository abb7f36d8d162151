"""Families of columns that form an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spinlock.data.digits import pixel_grid


def image_grids(names: Sequence[str], families: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Positions ``[height, width]`` of the columns ``<family>::r<row>c<column>``, by family.

    Left out are families whose columns form no full rectangle of at least 2 x 2.

    >>> names = ["a::r0c0", "a::r0c1", "b::x", "a::r1c0", "a::r1c1"]
    >>> grids = image_grids(names, ["a", "a", "b", "a", "a"])
    >>> {family: grid.tolist() for family, grid in grids.items()}
    {'a': [[0, 1], [3, 4]]}
    """
    columns: dict[str, list[int]] = {}
    for position, family in enumerate(families):
        columns.setdefault(family, []).append(position)
    grids = {}
    for family, positions in columns.items():
        grid = pixel_grid([names[position] for position in positions], family)
        if grid is not None and min(grid.shape) >= 2:
            grids[family] = np.asarray(positions, dtype=np.int64)[grid]
    return grids
