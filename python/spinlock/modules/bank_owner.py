"""What modules with a ``bank`` share: a short way to it."""

from torch import nn

from spinlock.modules.codebook_bank import CodebookBank

__all__ = ["BankOwner"]


class BankOwner(nn.Module):
    """A module with a ``bank``, set by :meth:`own_bank`."""

    @property
    def bank(self) -> CodebookBank:
        """The codebooks and their statistics."""
        # Without the failing search that precedes Module.__getattr__: some 2 us, 30 in cold caches,
        # several times in every step.
        return self._modules["bank"]  # type: ignore[return-value]

    def own_bank(self, bank: CodebookBank) -> None:
        """Takes codebooks, which others may share, for its own."""
        self._modules["bank"] = bank
