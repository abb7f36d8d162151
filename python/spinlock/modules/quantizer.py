"""What all quantizer modules share: options, losses, usage, decoding in the module's dtype."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.modules._options import CodebookInit, Reduction, check_choice, check_weighting
from spinlock.modules.bank_owner import BankOwner
from spinlock.modules.codebook_bank import CodebookBank
from spinlock.modules.outputs import (
    QuantizerLosses,
    QuantizerOutput,
    UsageSummary,
)

__all__ = ["Quantizer"]


class Quantizer(BankOwner, ABC):
    """Base of the quantizer modules: one :class:`CodebookBank` and the rules around it.

    In training mode a forward pass first initialises codebooks that wait for data, and updates
    EMA statistics and usage counters after its codes are chosen; in eval mode it writes nothing.

    Attributes:
        bank: the codebooks and their statistics.
        commitment_weight, commitment_reduction: of ``losses.total``.
    """

    def __init__(
        self,
        layout: CodebookLayout,
        *,
        decay: float,
        commitment_weight: float,
        commitment_reduction: Reduction,
        use_ema: bool,
        init: CodebookInit,
        backend: str | None,
        seed: int,
        unit_codes: bool = False,
    ) -> None:
        super().__init__()
        check_weighting("commitment_weight", commitment_weight)
        check_choice("commitment_reduction", commitment_reduction, Reduction)
        self.commitment_weight = commitment_weight
        self.commitment_reduction = commitment_reduction
        bank = CodebookBank(
            layout,
            use_ema=use_ema,
            decay=decay,
            init=init,
            unit_codes=unit_codes,
            backend=backend,
            seed=seed,
        )
        self.own_bank(bank)

    @property
    def layout(self) -> CodebookLayout:
        """The layout of the bank."""
        return self.bank.layout

    @property
    def num_quantizers(self) -> int:
        """Q, the number of codebooks."""
        return self.layout.num_quantizers

    @property
    def indices_width(self) -> int:
        """Columns of ``indices``: one per codebook."""
        return self.layout.num_quantizers

    @property
    def bits(self) -> float:
        """Bits that the codes of one row carry: the sum of log2 K."""
        return self.layout.bits

    @property
    @abstractmethod
    def latent_width(self) -> int:
        """Columns of the latents."""

    @abstractmethod
    def forward(
        self, latents: Tensor | Sequence[Tensor], mask: Tensor | None = None
    ) -> QuantizerOutput:
        """Latents [..., latent_width] -> :class:`QuantizerOutput`.

        Args:
            latents: the rows.
            mask: bool [...], False where a row is padding: that is treated like a row that is not
                finite, but not counted as one.
        """

    @abstractmethod
    def decode(self, indices: Tensor) -> Tensor:
        """Indices [..., indices_width] -> [..., latent_width], exactly what forward returned."""

    @abstractmethod
    def initialize_from(
        self, latents: Tensor | Sequence[Tensor], generator: torch.Generator | None = None
    ) -> None:
        """Sets the codebooks from latents [..., latent_width]; see :class:`CodebookBank`."""

    @abstractmethod
    def revive(
        self,
        latents: Tensor | Sequence[Tensor],
        threshold: float,
        generator: torch.Generator | None = None,
    ) -> int:
        """Moves dead codes onto badly represented rows; see :class:`CodebookBank`."""

    @abstractmethod
    def usage(self) -> UsageSummary:
        """Use of the codes in training mode since the last reset, in the order of ``indices``."""

    def reset_usage(self) -> None:
        """Starts a new epoch of the usage counters."""
        self.bank.reset_usage()

    def extra_repr(self) -> str:
        """The line that ``print(quantizer)`` shows."""
        return (
            f"commitment_weight={self.commitment_weight}, "
            f"commitment_reduction={self.commitment_reduction!r}"
        )

    def _uncount(self, mask: Tensor) -> None:
        """Takes masked rows, which were skipped by every quantizer, from the epoch's counter."""
        self.bank.epoch_skipped.sub_((~mask).sum())

    def _losses(
        self, commitment: Tensor, codebook: Tensor, mean: Tensor | None = None
    ) -> QuantizerLosses:
        """From the terms per quantizer; ``mean``: of the first ones, where it is known already."""
        known = mean if self.commitment_reduction == "mean" else None
        total = self._reduce(commitment) if known is None else known
        if self.commitment_weight != 1.0:
            total = self.commitment_weight * total
        if not self.bank.use_ema:
            total = total + self._reduce(codebook)
        return QuantizerLosses(total, commitment, codebook)

    def _reduce(self, losses: Tensor) -> Tensor:
        return losses.mean() if self.commitment_reduction == "mean" else losses.sum()
