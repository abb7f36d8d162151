"""What modules with a ``bank`` share: a short way to it, their dtype, freezing."""

from typing import Self

import torch
from torch import Tensor, nn

from spinlock.modules.codebook_bank import CodebookBank

__all__ = ["BankOwner"]


class BankOwner(nn.Module):
    """A module with a ``bank``, set by :meth:`own_bank`."""

    _dtype_anchor: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Follows .to(dtype), which the float32 statistics do not.
        anchor = torch.empty(0, dtype=torch.float32)
        self.register_buffer("_dtype_anchor", anchor, persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """What ``.to(dtype)`` made of the module: that of decoded codes, float32 at first."""
        return self._dtype_anchor.dtype

    @property
    def bank(self) -> CodebookBank:
        """The codebooks and their statistics."""
        # Without the failing search that precedes Module.__getattr__: some 2 us, 30 in cold caches,
        # several times in every step.
        return self._modules["bank"]  # type: ignore[return-value]

    def own_bank(self, bank: CodebookBank) -> None:
        """Takes codebooks, which others may share, for its own."""
        self._modules["bank"] = bank

    def freeze(self, frozen: bool = True) -> Self:
        """Keeps codes and averages as they are in training mode too, or lets them go again.

        Usage counters go on, and gradients reach the latents as ever.  A frozen quantizer neither
        initialises nor revives codes, and learnable codes ask for no gradient.
        """
        self.bank.frozen = frozen
        for parameter in self.bank.parameters():
            parameter.requires_grad_(not frozen)
        return self
