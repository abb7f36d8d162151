"""One codebook layer on rows: what VectorQuantize and the levels of ResidualVQ have in common."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from spinlock.compat.vector_quantize_pytorch.codebook import Codebook
from spinlock.compat.vector_quantize_pytorch.losses import LossBreakdown, level_loss
from spinlock.modules.code_distances import nearest_k
from spinlock.modules.code_learning import LearningStep, learn_codes
from spinlock.modules.code_regularizers import code_cross_entropy
from spinlock.modules.code_synchronization import is_synchronized
from spinlock.modules.messages import afterwards
from spinlock.modules.row_quantizer import PLAIN_STEP, RowQuantizer, RowResult
from spinlock.modules.vq_options import Lookup, Regularizers, Update

__all__ = ["Layer", "LayerResult"]


class LayerResult(NamedTuple):
    """What :meth:`Layer.quantize` returns.

    Attributes:
        quantized: [N, H * D] with its gradients, before the projection.
        indices: int64 [N, H].
        loss: scalar, weighted.
        terms: its parts.
        rows: what :meth:`RowQuantizer.quantize_rows` returned.
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    terms: LossBreakdown
    rows: RowResult


class Layer(RowQuantizer):
    """A :class:`RowQuantizer` whose bank is called ``_codebook``, as in the original's checkpoints.

    Attributes:
        sync_update_v: share of the gradient that is added once more.
        manual_ema_update: averages move, codes only by ``_codebook.update_ema()``.
    """

    _codebook: Codebook
    estimates_in_eval = False

    def __init__(
        self,
        heads: int,
        lookup: Lookup,
        update: Update,
        regularizers: Regularizers,
        *,
        sync_update_v: float,
        manual_ema_update: bool,
        ema_update: bool,
    ) -> None:
        super().__init__(heads, lookup, update, regularizers)
        self.sync_update_v, self.manual_ema_update = sync_update_v, manual_ema_update
        self.averages = ema_update

    @property
    def bank(self) -> Codebook:
        """The codebooks."""
        return self._codebook

    def quantize(
        self,
        rows: Tensor,
        mask: Tensor | None = None,
        *,
        frozen: bool = False,
        learning: LearningStep = PLAIN_STEP,
        indices: Tensor | None = None,
        positions: int = 1,
        temperature: float | None = None,
        score: bool = False,
    ) -> LayerResult:
        """Quantizes rows [N, H * D] and learns from them; see :meth:`quantize_rows`."""
        if self.lookup.temperature == 0:
            temperature = None
        averages = self.averages if learning.ema is None else learning.ema
        result = self.quantize_rows(
            rows,
            mask,
            indices=indices,
            positions=positions,
            temperature=temperature,
            frozen=frozen,
            score=score,
            learning=LearningStep(
                learning.weight,
                learning.gather_only,
                learning.refresh and not self.manual_ema_update,
                averages,
                learning.expire,
            ),
        )
        quantized = result.quantized
        if self.training and self.sync_update_v > 0:
            quantized = quantized + self.sync_update_v * (quantized - quantized.detach())
        loss, terms = level_loss(result, self, frozen=frozen)
        return LayerResult(quantized, result.indices, loss, terms, result)

    def cross_entropy(self, result: LayerResult, indices: Tensor) -> Tensor:
        """Scalar: of the codes given [N, H], by minus the distance; -1 is left out."""
        assert result.rows.scores is not None
        return code_cross_entropy(result.rows.scores, indices)

    @torch.no_grad()
    def learn(self, rows: Tensor, indices: Tensor, mask: Tensor | None = None) -> None:
        """Learns from rows [N, H * D] with codes [N, H] chosen elsewhere; -1 is left out."""
        unknown = (indices < 0).any(dim=1)
        mask = ~unknown if mask is None else mask & ~unknown
        compared = self.compared_rows(rows, mask)
        tokens = indices.masked_fill(indices < 0, 0).reshape(len(compared), -1)
        if self.averages or self.update.expire_below > 0:
            refresh = self.averages and not self.manual_ema_update
            together = is_synchronized(self.update.synchronize)
            step = LearningStep(refresh=refresh)
            learn_codes(self.bank, compared, tokens, step, synchronized=together)
        if self.training:
            afterwards(partial(self.expire_rows, compared))

    def candidates(self, rows: Tensor, count: int) -> Tensor:
        """int64 [N, count]: the nearest codes of rows [N, D], the best first; one head."""
        bank = self.bank
        count = min(count, bank.codebook_size)
        compared = self.compared_rows(rows)
        clean = compared.where(compared.isfinite().all(dim=1, keepdim=True), 0.0)
        return nearest_k(clean.detach(), bank.weight, bank.layout, self.cosine, count).select(1, 0)
