"""How Q codebooks of one size learn in steps of their own: weighted, gathered up, expiring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from spinlock.modules.codebook_bank import CodebookBank
from spinlock.modules.codebook_views import even_codebooks
from spinlock.modules.messages import add_up_then
from spinlock.ops import accumulate_codes
from spinlock.ops._averages import normalize_codes
from spinlock.ops._traced import is_traced

__all__ = [
    "LearningStep",
    "StepWeight",
    "count_epoch",
    "expire_codes",
    "learn_codes",
    "refresh_codes",
]

# [K] or [Q, K], or a function of the batch's sums [Q, K, D] and counts [Q, K] that returns one.
StepWeight = Tensor | Callable[[Tensor, Tensor], Tensor] | None


@dataclass(frozen=True)
class LearningStep:
    """What is special about one training step.

    Attributes:
        weight: factors of the averages' rate, per code.
        gather_only: keep the batch's statistics for the next step that is not so.
        refresh: set the codes from the averages, where these move.
        ema: move the averages; None: as the module's options say.
        expire: replace codes that are too rarely used.
    """

    weight: StepWeight = None
    gather_only: bool = False
    refresh: bool = True
    ema: bool | None = None
    expire: bool = True

    @property
    def plain(self) -> bool:
        """Whether codes and averages move as ever."""
        return self.weight is None and not self.gather_only and self.refresh

    def without_refresh(self) -> LearningStep:
        """The same, but the codes stay."""
        # Compiled code of torch 2.6 cannot run `dataclasses.replace`.
        return LearningStep(
            weight=self.weight,
            gather_only=self.gather_only,
            refresh=False,
            ema=self.ema,
            expire=self.expire,
        )


@torch.no_grad()
def learn_codes(
    bank: CodebookBank,
    rows: Tensor,
    indices: Tensor,
    step: LearningStep,
    *,
    synchronized: bool = False,
    num_rows: Tensor | None = None,
    now: bool = False,
) -> None:
    """The averages of a bank, and its codes, move by one batch.

    Args:
        bank: Q codebooks of one size; codes may be a parameter.
        rows: [B, Q * D]; rows that are not finite are left out.
        indices: int64 [B, Q].
        step: how.
        synchronized: the batch is what all processes have together.
        num_rows: [1], rows that are no padding, where the epoch's counters are to move as well.
        now: also within a block of :func:`~spinlock.modules.messages.one_message`.
    """
    counts, sums = accumulate_codes(rows, indices, bank.layout, backend=bank.backend)
    found = [counts, sums] if num_rows is None else [counts, sums, num_rows.to(counts)]
    if synchronized:
        add_up_then(found, partial(_learn, bank, step), now=now)
    else:
        _learn(bank, step, *found)


@torch.no_grad()
def count_epoch(bank: CodebookBank, counts: Tensor, num_rows: int | Tensor) -> None:
    """Adds [total_codes], the rows per code of ``num_rows`` rows, to the epoch's counters."""
    quantizers, size, _ = _shape(bank)
    counts = counts.to(torch.int64)
    skipped = num_rows - counts.view(quantizers, size).sum(dim=1)
    bank.epoch_counts.add_(counts)
    bank.epoch_skipped.add_(skipped.to(torch.int64))


@torch.no_grad()
def _learn(
    bank: CodebookBank,
    step: LearningStep,
    counts: Tensor,
    sums: Tensor,
    num_rows: Tensor | None = None,
) -> None:
    if num_rows is not None:
        count_epoch(bank, counts, num_rows)
    if bank.gathered is not None:
        counts, sums = counts + bank.gathered[0], sums + bank.gathered[1]
        bank.gathered = None
    if step.gather_only:
        bank.gathered = counts, sums
        return
    _move(bank, counts, sums, step.weight)
    if step.refresh:
        refresh_codes(bank, counts)


def _move(bank: CodebookBank, counts: Tensor, sums: Tensor, weight: StepWeight) -> None:
    quantizers, size, _ = _shape(bank)
    new_counts, new_sums = counts.view(quantizers, size), even_codebooks(sums, bank.layout)
    if callable(weight) and not isinstance(weight, Tensor):
        weight = weight(new_sums, new_counts)
    rate = (1.0 - bank.decay) * (new_counts.sum(dim=1, keepdim=True) > 0).to(counts.dtype)
    rate = rate.expand(quantizers, size) if weight is None else rate * weight.to(counts)
    bank.ema_counts.view(quantizers, size).lerp_(new_counts, rate)
    if bank.ema_sums is not None:
        even_codebooks(bank.ema_sums, bank.layout).lerp_(new_sums, rate[..., None])


@torch.no_grad()
def refresh_codes(bank: CodebookBank, batch_counts: Tensor | None = None) -> None:
    """Codes from the averages: sums / smoothed counts, as spinlock.ops._averages.move_averages.

    Args:
        bank: as in :func:`learn_codes`.
        batch_counts: [total_codes]; codebooks without a row here stay.  None: all move.
    """
    quantizers, size, _ = _shape(bank)
    counts = bank.ema_counts.view(quantizers, size)
    assert bank.ema_sums is not None
    sums = even_codebooks(bank.ema_sums, bank.layout)
    total = counts.sum(dim=1, keepdim=True)
    smoothed = (counts + bank.epsilon) * (total / (total + size * bank.epsilon))
    codes = sums / smoothed[..., None]
    weight = even_codebooks(bank.weight, bank.layout)
    active = total > 0
    if batch_counts is not None:
        active = batch_counts.view(quantizers, size).sum(dim=1, keepdim=True) > 0
    weight.copy_(torch.where(active[..., None], codes.to(weight.dtype), weight))
    if bank.unit_codes:
        normalize_codes(bank.weight, bank.layout, batch_counts)


@torch.no_grad()
def expire_codes(bank: CodebookBank, rows: Tensor, below: float, count: float) -> None:
    """Codes whose average count is ``below`` so many rows move onto random rows of the batch.

    Draws come from torch's global generator, without replacement: with fewer usable rows than
    dead codes, a random part of them moves now and the rest in later steps.

    Args:
        bank: as in :func:`learn_codes`.
        rows: [B, Q * D].
        below: rows.
        count: the average count that a moved code starts with; its sum is code * count.
    """
    quantizers, size, dim = _shape(bank)
    dead = bank.ema_counts.view(quantizers, size) < below
    if not rows.shape[0] or not (is_traced(rows, bank.weight) or bool(dead.any())):
        return
    places = rows.detach().to(torch.float32).view(rows.shape[0], quantizers, dim)
    usable = places.isfinite().all(dim=-1)
    weight = even_codebooks(bank.weight, bank.layout)
    for q in range(quantizers):
        drawn = torch.randperm(rows.shape[0], device=rows.device)
        drawn = drawn[(~usable[drawn, q]).to(torch.uint8).argsort(stable=True)]
        rank = dead[q].cumsum(0) - 1
        if rows.shape[0] < size:
            order = torch.rand(size, device=rows.device).masked_fill(~dead[q], 2.0).argsort()
            rank = order.argsort()
        moves = dead[q] & (rank < usable[:, q].sum())
        donors = places[drawn[rank.clamp(0, rows.shape[0] - 1)], q]
        weight[q].copy_(torch.where(moves[:, None], donors.to(weight.dtype), weight[q]))
        counts = bank.ema_counts.view(quantizers, size)[q]
        counts.copy_(torch.where(moves, count, counts))
        if bank.ema_sums is not None:
            sums = even_codebooks(bank.ema_sums, bank.layout)[q]
            sums.copy_(torch.where(moves[:, None], donors * count, sums))


def _shape(bank: CodebookBank) -> tuple[int, int, int]:
    layout = bank.layout
    return layout.num_quantizers, layout.codebook_sizes[0], layout.dims[0]
