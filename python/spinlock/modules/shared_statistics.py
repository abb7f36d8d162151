"""What processes that train one bank of codebooks tell each other in a step: one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from spinlock.distributed.world import World
from spinlock.modules.ema import ema_step
from spinlock.modules.messages import add_up_then
from spinlock.ops import _cpp
from spinlock.ops._averages import mark_changed, normalize_codes
from spinlock.ops._backend import AverageState, resolve_fused
from spinlock.ops.padding import padding_plan

if TYPE_CHECKING:
    from spinlock.modules.codebook_bank import CodebookBank

__all__ = ["SharedStatistics", "copy_from_first"]


class SharedStatistics:
    """Counts and sums of one batch, of all codebooks of a bank, in one packed buffer.

    Counts are float32, and so exact up to 16,777,216 rows per step, all processes together.

    Attributes:
        packed: float32, what is sent: the next three, one after the other.
        sums: [weight_size], the sums of the rows by code; None where the bank moves no codes.
        counts: [total_codes], usable rows per code; 0 at first.
        rows: [1], rows of the batch that were not masked.

    Args:
        bank: that learns.
    """

    def __init__(self, bank: CodebookBank) -> None:
        self._bank = bank
        codes, elements = bank.layout.total_codes, bank.layout.weight_size
        moves = bank.average_state().ema_sums is not None
        elements = elements if moves else 0
        self.packed = torch.zeros(
            elements + codes + 1, dtype=torch.float32, device=bank.weight.device
        )
        self.sums = self.packed[:elements] if moves else None
        self.counts, self.rows = self.packed[elements:-1], self.packed[-1:]

    def as_averages(self) -> tuple[Tensor, AverageState]:
        """A copy of the codes, and averages without memory: a train step on them fills this.

        With a decay of 0 the averages after a step are the batch's own counts and sums.
        """
        bank = self._bank
        state = AverageState(
            self.counts,
            self.sums,
            torch.zeros_like(bank.epoch_counts),
            torch.zeros_like(bank.epoch_skipped),
            0.0,
            bank.epsilon,
        )
        return bank.weight.clone(), state

    def settle(self) -> None:
        """Adds up over all processes; averages, codes and counters of the bank move by the sum."""
        add_up_then([self.packed], self._move)

    @torch.no_grad()
    def _move(self, packed: Tensor) -> None:
        self.packed.copy_(packed)
        bank = self._bank
        state = bank.average_state()
        layout, counts = bank.layout, self.counts
        if state.ema_sums is not None and self.sums is not None and self._on_core():
            _cpp.refresh_codes(
                counts,
                self.sums,
                bank.weight,
                layout,
                state.ema_counts,
                state.ema_sums,
                None,
                state.decay,
                state.epsilon,
            )
            mark_changed(bank.weight, state)
        elif not bank.frozen:
            sums = counts if self.sums is None else self.sums  # not looked at without averages
            views = bank.views()
            ema_step(views, counts, sums, decay=bank.decay, epsilon=bank.epsilon)
        if bank.unit_codes and not bank.frozen:
            normalize_codes(bank.weight, layout, counts)
        rows = counts.to(torch.int64)
        bank.epoch_counts.add_(rows)
        by_quantizer = padding_plan(layout, rows.device).sum_by_quantizer(rows)
        bank.epoch_skipped.add_(self.rows.to(torch.int64) - by_quantizer)

    def _on_core(self) -> bool:
        bank = self._bank
        return cast(object, resolve_fused(bank.backend, bank.weight)) is _cpp


@torch.no_grad()
def copy_from_first(bank: CodebookBank) -> None:
    """Codes, averages and which codebooks are initialised become those of process 0."""
    tensors = [bank.weight, bank.ema_counts, bank.initialized_codebooks]
    World().copy_from_first([*tensors, *([] if bank.ema_sums is None else [bank.ema_sums])])
