"""Which rows of a matrix lie in which process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["RowShare"]


@dataclass(frozen=True, eq=False)
class RowShare:
    """The rows of a matrix ``[total, D]`` that one process holds.

    Attributes:
        total: rows of all processes together.
        numbers: int64 [n], ascending: which of them are here, in the order they lie here.

    >>> share = RowShare(total=10, numbers=torch.tensor([1, 4, 6]))
    >>> share.held(torch.tensor([6, 0, 1]))
    (tensor([0, 2]), tensor([2, 0]))
    """

    total: int
    numbers: Tensor

    @classmethod
    def of(cls, places: NDArray[np.int64], block: tuple[int, int]) -> RowShare:
        """Rows that come from the places ``block[0] .. block[1] - 1`` of a data set.

        Args:
            places: [total], the place in the data set of each row.
            block: first place and end.

        >>> RowShare.of(np.array([7, 0, 3, 5]), (3, 6)).numbers.tolist()
        [2, 3]
        """
        inside = (places >= block[0]) & (places < block[1])
        return cls(len(places), torch.from_numpy(np.flatnonzero(inside)))

    def held(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the ``wanted`` row numbers are here, and where they lie here.

        Args:
            wanted: int64 [m], in any order.

        Returns:
            positions within ``wanted`` and, for these, positions within the rows here.
        """
        if not len(self.numbers):
            nothing = torch.zeros(0, dtype=torch.int64)
            return nothing, nothing
        wanted = wanted.cpu()
        at = torch.searchsorted(self.numbers, wanted).clamp_(max=len(self.numbers) - 1)
        where = (self.numbers[at] == wanted).nonzero().flatten()
        return where, at[where]

    @staticmethod
    def block(places: int, rank: int, size: int) -> tuple[int, int]:
        """First place and end of the block that process ``rank`` of ``size`` reads.

        >>> [RowShare.block(10, rank, 3) for rank in range(3)]
        [(0, 3), (3, 6), (6, 10)]
        """
        return places * rank // size, places * (rank + 1) // size
