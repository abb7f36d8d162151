"""Q independent codebooks of different sizes and dimensions, quantized together."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.modules._options import CodebookInit, Reduction, Similarity, check_choice
from spinlock.modules._rows import index_rows, latent_rows, masked_rows
from spinlock.modules.outputs import QuantizerOutput, QuantizerUsage, UsageSummary
from spinlock.modules.quantizer import Quantizer
from spinlock.ops import gather_codes, unit_rows

__all__ = ["RaggedVectorQuantizer"]


class RaggedVectorQuantizer(Quantizer):
    """Replaces each of Q latent vectors of a row by the nearest code of its own codebook.

    Args:
        codebook_sizes: K_q >= 1, one per quantizer.
        dims: D_q >= 1, one per quantizer.
        decay: of the moving averages that codes follow, 0 <= decay < 1.
        commitment_weight: factor of the commitment terms in ``losses.total``.
        commitment_reduction: ``"mean"`` or ``"sum"`` of the terms over quantizers.
        use_ema: codes follow moving averages; False makes them a parameter that the codebook
            loss, then part of ``losses.total``, trains.
        rotation_trick: gradients reach the latents rotated and scaled as they are onto their
            codes (Fifty et al. 2024), not straight through.
        similarity: ``"cosine"`` scales latents and codes to length 1, so that the nearest code is
            the one with the smallest angle; moving averages only.
        init: ``"kmeans"``: k-means++ on the first batch in training mode, or earlier by
            :meth:`initialize_from`; ``"uniform"``: +-1 / K_q.
        alignment: of codes in memory, in elements, a power of two.
        backend: as in :func:`spinlock.ops.nearest_codes`.
        seed: of the first codes and of every draw made without a generator.

    Raises:
        LayoutError: sizes, dims or an alignment that describe no layout.
        ConfigError: another option out of its range.
        InputError: an unknown backend.

    >>> quantizer = RaggedVectorQuantizer(codebook_sizes=[16, 32], dims=[4, 8], seed=1)
    >>> latents = torch.randn(100, 12, generator=torch.Generator().manual_seed(0))
    >>> output = quantizer(latents)
    >>> output.quantized.shape, output.indices.shape
    (torch.Size([100, 12]), torch.Size([100, 2]))
    >>> output.losses.commitment.shape, output.usage.counts.shape
    (torch.Size([2]), torch.Size([48]))
    >>> quantizer = quantizer.eval()
    >>> output = quantizer([latents[:, :4], latents[:, 4:]])  # a list works as well
    >>> torch.equal(quantizer.decode(output.indices), output.quantized)
    True
    """

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        dims: Sequence[int],
        *,
        decay: float = 0.99,
        commitment_weight: float = 1.0,
        commitment_reduction: Reduction = "mean",
        use_ema: bool = True,
        rotation_trick: bool = False,
        similarity: Similarity = "euclidean",
        init: CodebookInit = "kmeans",
        alignment: int = 4,
        backend: str | None = None,
        seed: int = 0,
    ) -> None:
        check_choice("similarity", similarity, Similarity)
        layout = CodebookLayout(
            cast(tuple[int, ...], codebook_sizes), cast(tuple[int, ...], dims), alignment
        )
        super().__init__(
            layout,
            decay=decay,
            commitment_weight=commitment_weight,
            commitment_reduction=commitment_reduction,
            use_ema=use_ema,
            init=init,
            backend=backend,
            seed=seed,
            unit_codes=similarity == "cosine",
        )
        self.rotation_trick = rotation_trick
        self.bank.synchronize = None

    @property
    def latent_width(self) -> int:
        """Columns of the latents: the sum of ``dims``."""
        return self.layout.input_width

    def forward(
        self, latents: Tensor | Sequence[Tensor], mask: Tensor | None = None
    ) -> QuantizerOutput:
        """Quantizes latents [..., sum D_q], or a list of [..., D_q], of any floating dtype.

        A row that is not finite within a quantizer's columns comes out as its code 0, without
        gradient, and enters neither losses nor statistics.

        Raises:
            InputError: latents, or a mask (see :class:`Quantizer`), of another shape or type.
        """
        bank, training = self.bank, self.training
        layout = bank.layout
        rows = latent_rows(latents, layout.dims)
        lead = latents.shape[:-1] if isinstance(latents, Tensor) else latents[0].shape[:-1]
        if mask is not None:
            rows = masked_rows(rows, mask, lead)
        dtype = rows.dtype
        if bank.unit_codes:
            rows = unit_rows(rows, layout)
        if training and bank.may_wait:
            bank.initialize_missing(rows)
        together = training and bank.learns_together
        learn = training and not together
        result = bank.quantize(rows, learn=learn, rotation=self.rotation_trick)
        if together:
            bank.learn_together(rows.detach(), result.indices, mask)
        elif learn and mask is not None:
            self._uncount(mask)
        quantized, indices = result.quantized, result.indices
        if quantized.dtype is not dtype:
            quantized = quantized.to(dtype)
        if len(lead) != 1:
            quantized = quantized.view(*lead, layout.input_width)
            indices = indices.view(*lead, len(layout.dims))
        losses = self._losses(result.commitment, result.codebook_loss, result.mean_commitment)
        return QuantizerOutput(quantized, indices, losses, QuantizerUsage(result.counts))

    def decode(self, indices: Tensor) -> Tensor:
        """Indices [..., Q] -> codes [..., sum D_q] in the module's dtype (float32 at first).

        Raises:
            InputError: another shape or type, or an index out of range.
        """
        rows = index_rows(indices, self.indices_width)
        codes = gather_codes(rows, self.bank.weight, self.layout)
        return codes.to(self.dtype).view(*indices.shape[:-1], self.latent_width)

    def codebook(self, q: int) -> Tensor:
        """The view [K_q, D_q] of codebook q; see :meth:`CodebookBank.codebook`."""
        return self.bank.codebook(q)

    def split(self, packed: Tensor) -> tuple[Tensor, ...]:
        """Views [..., D_q] of latents or quantized rows [..., sum D_q], one per quantizer.

        Forward makes none, for many small views cost as much as a small lookup.
        """
        return torch.split(packed, list(self.layout.dims), dim=-1)

    def initialize_from(
        self, latents: Tensor | Sequence[Tensor], generator: torch.Generator | None = None
    ) -> None:
        """Sets all codebooks from latents; see :meth:`CodebookBank.initialize_from`."""
        self.bank.initialize_from(self._compared(latents), generator)

    def revive(
        self,
        latents: Tensor | Sequence[Tensor],
        threshold: float,
        generator: torch.Generator | None = None,
    ) -> int:
        """Moves dead codes onto badly represented rows; see :meth:`CodebookBank.revive`."""
        return self.bank.revive(self._compared(latents), threshold, generator)

    def usage(self) -> UsageSummary:
        """Use of the codes in training mode since the last reset, per quantizer."""
        return self.bank.usage()

    def _compared(self, latents: Tensor | Sequence[Tensor]) -> Tensor:
        """Rows as codes see them."""
        rows = latent_rows(latents, self.layout.dims)
        return unit_rows(rows, self.layout) if self.bank.unit_codes else rows
