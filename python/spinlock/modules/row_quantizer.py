"""The quantizer behind VectorQuantize and its residual forms: rows in, codes and losses out."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spinlock.errors import ConfigError
from spinlock.layout import CodebookLayout
from spinlock.modules.bank_owner import BankOwner
from spinlock.modules.code_distances import code_scores, draw_codes, soft_codes
from spinlock.modules.code_learning import LearningStep, count_epoch, expire_codes, learn_codes
from spinlock.modules.code_regularizers import (
    code_cross_entropy,
    diversity_loss,
    orthogonal_loss,
)
from spinlock.modules.code_synchronization import copy_from_first, is_synchronized
from spinlock.modules.codebook_views import even_codebooks
from spinlock.modules.messages import add_up_then, afterwards
from spinlock.modules.vq_options import Lookup, Regularizers, Update
from spinlock.ops import Quantized, gather_codes, quantize, unit_rows
from spinlock.ops._steps import working_dtype

__all__ = ["PLAIN_STEP", "RowQuantizer", "RowResult", "codebook_layout"]

PLAIN_STEP = LearningStep()


class RowResult(NamedTuple):
    """What :meth:`RowQuantizer.quantize_rows` returns.

    Attributes:
        quantized: [N, H * D] in the rows' type; the code 0, without gradient, for rows left out.
        indices: int64 [N, H].
        commitment: scalar; 0 without any row.
        codebook: scalar of the same value, whose gradient goes to learnable codes.
        diversity, orthogonal: scalars; 0 where the term is off.
        counts: int64 [total_codes], rows per code.
        scores: [N, H, K], where something needed them, else None.
    """

    quantized: Tensor
    indices: Tensor
    commitment: Tensor
    codebook: Tensor
    diversity: Tensor
    orthogonal: Tensor
    counts: Tensor
    scores: Tensor | None


def codebook_layout(count: int, size: int, dim: int) -> CodebookLayout:
    """``count`` codebooks of one size and dim."""
    return CodebookLayout((size,) * count, (dim,) * count)


class RowQuantizer(BankOwner):
    """Base of modules that have a ``bank`` of one codebook, or of one for each head.

    Attributes:
        bank: Q = H codebooks, or the one that all heads share.
        heads: H, parts of a row that are quantized on their own.
        lookup, update, regularizers: the options.
        estimates_in_eval: whether latents get the estimator's gradient in eval mode too.
    """

    estimates_in_eval = True

    def __init__(
        self, heads: int, lookup: Lookup, update: Update, regularizers: Regularizers
    ) -> None:
        super().__init__()
        if lookup.similarity == "cosine" and not update.ema:
            raise ConfigError(
                "lookup.similarity: expected 'euclidean' for codes that gradients move, got "
                "'cosine'; set update.ema=True"
            )
        self.heads, self.lookup, self.update = heads, lookup, update
        self.regularizers = regularizers

    @property
    def codes(self) -> Tensor:
        """The view [Q, K, D] of all codebooks."""
        return even_codebooks(self.bank.weight, self.bank.layout)

    @property
    def num_codebooks(self) -> int:
        """Q: one for each head, or 1 for all."""
        return self.bank.layout.num_quantizers

    @property
    def cosine(self) -> bool:
        """Whether rows and codes are compared at length 1."""
        return self.bank.unit_codes

    def compared_rows(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """[N, H * D] -> [N, H * D], or [N * H, D] for a shared codebook, as codes see them.

        Args:
            rows: any floating dtype.
            mask: bool [N], False where a row is left out: it becomes NaN.
        """
        if mask is not None:
            rows = rows.masked_fill(~mask.unsqueeze(1), torch.nan)
        rows = rows.reshape(-1, self.bank.layout.input_width)
        return unit_rows(rows, self.bank.layout) if self.bank.unit_codes else rows

    def decode_rows(self, indices: Tensor) -> Tensor:
        """int64 [N, H] -> codes [N, H * D], float32 or wider; -1 gives the code 0.

        Raises:
            InputError: an index out of range.
        """
        layout = self.bank.layout
        tokens = indices.masked_fill(indices == -1, 0).reshape(-1, layout.num_quantizers)
        codes = gather_codes(tokens, self.bank.weight, layout)
        return codes.view(indices.shape[0], self.heads * layout.dims[0])

    def quantize_rows(
        self,
        rows: Tensor,
        mask: Tensor | None = None,
        *,
        indices: Tensor | None = None,
        positions: int = 1,
        temperature: float | None = None,
        frozen: bool = False,
        score: bool = False,
        learning: LearningStep = PLAIN_STEP,
    ) -> RowResult:
        """Quantizes rows and, in training mode, learns from them.

        Args:
            rows: [N, H * D].
            mask: bool [N], False where a row is padding.
            indices: int64 [N, H], codes already chosen; None looks them up.
            positions: of :func:`diversity_loss`.
            temperature: instead of ``lookup.temperature``.
            frozen: learn nothing.
            score: return the scores in any case.
            learning: how to learn.
        """
        given, heads = rows, self.heads
        rows = self.compared_rows(rows, mask)
        if self.training and self.bank.may_wait and not frozen:
            self.initialize(rows)
        temperature = self.lookup.temperature if temperature is None else temperature
        drawn = self.training and temperature > 0 and indices is None
        training_scores = self.regularizers.cross_entropy or self.regularizers.diversity > 0
        scores = None
        if drawn or score or (self.training and training_scores):
            scores = code_scores(rows, self.bank.weight, self.bank.layout, self.bank.unit_codes)
        chosen = None
        if drawn:
            assert scores is not None
            chosen = draw_codes(scores.detach(), temperature).where(self.usable(rows), 0)
        elif indices is not None:
            chosen = indices.reshape(rows.shape[0], self.bank.layout.num_quantizers)
        found, quantized = self._step(
            rows,
            chosen,
            partial(self.attach, rows=rows, scores=scores if drawn else None, at=temperature),
            padding=None if mask is None else (~mask).sum() * (heads // self.num_codebooks),
            frozen=frozen,
            learning=learning,
        )
        # Some terms look at the codes, and want them as they are after the update.
        tokens = found.indices.view(-1, heads)
        diversity, orthogonal = self.terms(scores, tokens, rows.detach(), positions)
        commitment, codebook = found.mean_commitment, found.codebook_loss.mean()
        if self.training and self.regularizers.cross_entropy:
            assert scores is not None
            known = found.indices.where(self.usable(rows.detach()), -1)
            commitment = code_cross_entropy(scores, known)
            codebook = commitment.detach()
        return RowResult(
            quantized.to(given.dtype).reshape(given.shape),
            tokens,
            commitment,
            codebook,
            diversity,
            orthogonal,
            found.counts,
            None if scores is None else scores.view(*tokens.shape, scores.shape[-1]),
        )

    def _step(
        self,
        rows: Tensor,
        chosen: Tensor | None,
        attach: Callable[[Quantized], Tensor],
        *,
        padding: Tensor | None,
        frozen: bool,
        learning: LearningStep,
    ) -> tuple[Quantized, Tensor]:
        """Lookup, what ``attach`` makes of it, and then learning in training mode.

        ``padding``: how many of the rows are some.
        """
        bank, learns = self.bank, self.training and not (frozen or self.bank.frozen)
        averaged = self.update.ema if learning.ema is None else learning.ema
        simple = learning.plain and averaged and not isinstance(bank.weight, nn.Parameter)
        together = self.training and is_synchronized(self.update.synchronize)
        now = self.regularizers.orthogonal > 0  # its loss is that of the codes after the step
        if not self.training:
            found = self.assign(rows, chosen, frozen=frozen)
            return found, attach(found)
        if learns and simple and chosen is None and bank.gathered is None and not together:
            rotation = self.lookup.estimator == "rotation"
            found = bank.quantize(rows, learn=True, rotation=rotation)
            quantized = attach(found)
            if padding is not None:
                bank.epoch_skipped.sub_(padding)
        else:
            found = self.assign(rows, chosen, frozen=frozen)
            quantized = attach(found)  # of codes as they are before they learn
            num_rows = found.counts.new_full((1,), rows.shape[0])
            num_rows = num_rows if padding is None else num_rows - padding
            moves = learns and (averaged or self.update.expire_below > 0)
            if moves:
                step = learning if averaged else learning.without_refresh()
                how = {"synchronized": together, "now": now}
                learn_codes(bank, rows, found.indices, step, num_rows=num_rows, **how)
            elif together:
                add_up_then([found.counts, num_rows], partial(count_epoch, bank))
            else:
                count_epoch(bank, found.counts, num_rows)
        if learns and learning.expire and not learning.gather_only:
            afterwards(partial(self.expire_rows, rows), now=now)
        return found, quantized

    def assign(self, rows: Tensor, chosen: Tensor | None, *, frozen: bool = False) -> Quantized:
        """Codes of compared rows, the nearest or those chosen [N, Q]; learns nothing.

        Frozen codes get no gradient from the losses.
        """
        bank = self.bank
        weight = bank.weight.detach() if frozen or bank.frozen else bank.weight
        rotation = self.lookup.estimator == "rotation"
        return quantize(
            rows, weight, bank.layout, indices=chosen, rotation=rotation, backend=bank.backend
        )

    def expire_rows(self, rows: Tensor) -> None:
        """Moves codes that are too rarely used onto these rows, compared ones."""
        below = self.update.expire_below
        if below == 0:
            return
        if not is_synchronized(self.update.synchronize):
            expire_codes(self.bank, rows, below, self.update.reset_count)
        elif bool((self.bank.ema_counts < below).any()):  # the same in every process
            expire_codes(self.bank, rows, below, self.update.reset_count)
            copy_from_first(self.bank)

    def initialize(self, rows: Tensor) -> None:
        """First codes from compared rows, for the codebooks that wait for them."""
        self.bank.initialize_missing(rows)
        if is_synchronized(self.update.synchronize):
            copy_from_first(self.bank)
            self.bank.note_initialized()

    def attach(self, found: Quantized, *, rows: Tensor, scores: Tensor | None, at: float) -> Tensor:
        """The quantized rows with the gradient that was asked for.

        Args:
            found: of the lookup.
            rows: what was looked up.
            scores: where codes were drawn.
            at: the temperature of the draw.
        """
        bank, estimates = self.bank, self.training or self.estimates_in_eval
        if self.lookup.estimator != "none" and rows.requires_grad and estimates:
            return found.quantized
        if scores is not None and self.lookup.soft_gradient:
            return soft_codes(scores, found.indices, bank.weight, bank.layout, at)
        if bank.weight.requires_grad and torch.is_grad_enabled() and not bank.frozen:
            return gather_codes(found.indices, bank.weight, bank.layout)
        return found.quantized.detach()

    def terms(
        self, scores: Tensor | None, tokens: Tensor, rows: Tensor, positions: int
    ) -> tuple[Tensor, Tensor]:
        """(diversity, orthogonal), scalars.

        Args:
            scores: [N * H / Q, Q, K], where diversity is asked for.
            tokens: int64 [N, H].
            rows: compared ones, NaN where left out.
            positions: of :func:`diversity_loss`.
        """
        options = self.regularizers
        nothing = self.bank.weight.new_zeros((), dtype=working_dtype(self.bank.weight))
        diversity = orthogonal = nothing
        if self.training and options.diversity > 0:
            assert scores is not None
            by_head = scores.view(*tokens.shape, scores.shape[-1])
            temperature = options.diversity_temperature
            usable = self.usable(rows).view(tokens.shape)
            diversity = diversity_loss(by_head, temperature, positions, usable)
        if self.training and options.orthogonal > 0:
            used = tokens.where(self.usable(rows).view(tokens.shape), -1)
            codes = self.codes.detach() if self.bank.frozen else self.codes
            orthogonal = orthogonal_loss(codes, options, used)
        return diversity, orthogonal

    def usable(self, rows: Tensor) -> Tensor:
        """Compared rows [B, Q * D] -> bool [B, Q], whether all their values are finite."""
        layout = self.bank.layout
        places = rows.view(rows.shape[0], layout.num_quantizers, layout.dims[0])
        return places.isfinite().all(dim=-1)
