"""Residual levels on the C++ core, where it does them all in one call."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.modules.codebook_bank import CodebookBank
from spinlock.modules.shared_statistics import SharedStatistics
from spinlock.ops._nested import NestedStep, nested_levels, nested_step, takes_nested

__all__ = ["NestedCore"]


class NestedCore:
    """The levels of a nested quantizer; copied and pickled as the layouts it is made of.

    Args:
        layouts: of each level, all categories of it.
        widths: columns of each category's latents.
    """

    def __init__(self, layouts: Sequence[CodebookLayout], widths: Sequence[int]) -> None:
        self._made_of = tuple(layouts), tuple(widths)
        self._levels = nested_levels(layouts, widths)

    def __reduce__(self) -> tuple[Any, ...]:
        return NestedCore, self._made_of

    def step(self, rows: Tensor, bank: CodebookBank, *, learn: bool) -> NestedStep | None:
        """See :func:`spinlock.ops._nested.nested_step`; None where the core does not take it."""
        learns_part = learn and bank.frozen  # counters alone move
        if learns_part or not takes_nested(bank.backend, rows, bank.weight):
            return None
        if not (learn and bank.learns_together):
            state = bank.average_state() if learn else None
            return nested_step(rows, bank.weight, self._levels, state)
        statistics = SharedStatistics(bank)
        codes, averages = statistics.as_averages()
        step = nested_step(rows, codes, self._levels, averages)
        statistics.rows.fill_(len(rows))
        statistics.settle()
        return step
