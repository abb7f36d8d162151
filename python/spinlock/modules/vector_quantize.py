"""One codebook, or one per head, with everything a model needs around it."""

import torch
from torch import Tensor, nn

from spinlock.errors import ConfigError, InputError
from spinlock.modules.codebook_bank import CodebookBank
from spinlock.modules.outputs import (
    QuantizerLosses,
    QuantizerOutput,
    QuantizerUsage,
    UsageSummary,
)
from spinlock.modules.row_quantizer import RowQuantizer, RowResult, codebook_layout
from spinlock.modules.row_shapes import length_mask, place_rows, restore_indices, restore_rows
from spinlock.modules.vq_options import Lookup, Regularizers, Shapes, Update
from spinlock.ops._validate import check_tensor

__all__ = ["VectorQuantize", "combined_losses"]


class VectorQuantize(RowQuantizer):
    """Replaces each row of a tensor by its nearest code.

    Args:
        dim: of the tensors given, >= 1.
        codebook_size: K >= 1.
        codebook_dim: D of the codes, per head; None: ``dim / heads``.  Where H * D is not ``dim``,
            a linear map leads there and another one back.
        heads: H, parts of each row that get a code of their own.
        shared_heads: all heads use one codebook instead of one each.
        lookup: see :class:`Lookup`.
        update: see :class:`Update`.
        regularizers: see :class:`Regularizers`.
        shapes: see :class:`Shapes`.
        backend: as in :func:`spinlock.ops.nearest_codes`.
        seed: of the first codes.

    Raises:
        ConfigError: options out of their range, or that do not go together.
        LayoutError: sizes that describe no codebook.

    >>> quantizer = VectorQuantize(dim=32, codebook_size=64)
    >>> x = torch.randn(8, 100, 32, generator=torch.Generator().manual_seed(0))
    >>> output = quantizer(x)
    >>> output.quantized.shape, output.indices.shape, output.losses.total.shape
    (torch.Size([8, 100, 32]), torch.Size([8, 100]), torch.Size([]))
    >>> output = quantizer.eval()(x)
    >>> torch.equal(quantizer.decode(output.indices), output.quantized)
    True
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        codebook_dim: int | None = None,
        heads: int = 1,
        shared_heads: bool = False,
        lookup: Lookup = Lookup(),  # noqa: B008 - frozen
        update: Update = Update(),  # noqa: B008
        regularizers: Regularizers = Regularizers(),  # noqa: B008
        shapes: Shapes = Shapes(),  # noqa: B008
        backend: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(heads, lookup, update, regularizers)
        if heads < 1 or (codebook_dim is None and dim % heads):
            raise ConfigError(
                f"heads: expected a number >= 1 that divides dim={dim}, got {heads}; choose "
                "another one, or give codebook_dim"
            )
        codebook_dim = dim // heads if codebook_dim is None else codebook_dim
        if regularizers.orthogonal_used_only and heads > 1 and not shared_heads:
            raise ConfigError(
                "regularizers.orthogonal_used_only: expected one codebook, got one for each of "
                f"{heads} heads; set shared_heads=True"
            )
        self.dim, self.codebook_size, self.shapes = dim, codebook_size, shapes
        inner = codebook_dim * heads
        self.project_in: nn.Module = nn.Identity()
        self.project_out: nn.Module = nn.Identity()
        if inner != dim:
            self.project_in, self.project_out = nn.Linear(dim, inner), nn.Linear(inner, dim)
        bank = CodebookBank(
            codebook_layout(1 if shared_heads else heads, codebook_size, codebook_dim),
            use_ema=update.ema,
            decay=update.decay,
            epsilon=update.epsilon,
            init=update.init,
            unit_codes=lookup.similarity == "cosine",
            backend=backend,
            seed=seed,
            learnable=update.learns or regularizers.orthogonal > 0,
        )
        self.own_bank(bank)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None
    ) -> QuantizerOutput:
        """Quantizes [*places, dim], or [batch, dim, *places] with ``shapes.channels_first``.

        Args:
            x: any floating dtype.
            mask: bool [*places], False where a row is padding: it enters nothing, its index is -1
                and its quantized value what ``shapes.masked_fill`` says.
            lengths: int [batch], instead of a mask for x [batch, time, dim].

        Returns:
            quantized like x; indices int64 [*places], or [*places, H] for several heads, the codes
            before the update; losses, whose ``commitment`` and ``codebook`` are [1]; usage.

        Raises:
            InputError: another shape or type.
        """
        rows, placement = place_rows(x, self.dim, self.shapes)
        kept = length_mask(placement, mask, lengths)
        result = self.quantize_rows(self.project_in(rows), kept)
        quantized, indices = self.project_out(result.quantized), result.indices
        if kept is not None:
            fill = rows if self.shapes.masked_fill == "input" else torch.zeros_like(rows)
            quantized = torch.where(kept.unsqueeze(1), quantized, fill)
            indices = indices.where(kept.unsqueeze(1), -1)
        return QuantizerOutput(
            restore_rows(quantized, placement),
            restore_indices(indices, placement),
            combined_losses([result], self),
            QuantizerUsage(result.counts),
        )

    def decode(self, indices: Tensor) -> Tensor:
        """Indices as forward returns them -> what it returned as quantized; -1 decodes to zeros.

        In the module's dtype: float32, until ``.to(dtype)`` says otherwise.

        Raises:
            InputError: another shape or type, or an index out of range.
        """
        check_tensor("indices", indices)
        tokens = indices[..., None] if self.heads == 1 else indices
        if tokens.ndim == 0 or tokens.shape[-1] != self.heads:
            raise InputError(
                f"indices: expected [.., {self.heads}] (one per head), got {list(indices.shape)}; "
                "pass indices as forward returns them"
            )
        rows = self.project_out(self.decode_rows(tokens.reshape(-1, self.heads)).to(self.dtype))
        rows = rows * (tokens.reshape(-1, self.heads) >= 0).all(dim=1, keepdim=True)
        last: Tensor = rows.view(*tokens.shape[:-1], self.dim)
        moved = self.shapes.channels_first and last.ndim > 1
        return last.movedim(-1, 1) if moved else last

    def usage(self) -> UsageSummary:
        """Use of the codes in training mode since the last reset, per codebook."""
        return self.bank.usage()

    def reset_usage(self) -> None:
        """Starts a new epoch of the usage counters."""
        self.bank.reset_usage()


def combined_losses(results: list[RowResult], module: RowQuantizer) -> QuantizerLosses:
    """The losses of one or more levels: commitment and codebook [L], and their weighted mean."""
    options = module.regularizers
    commitment = torch.stack([result.commitment for result in results])
    codebook = torch.stack([result.codebook for result in results])
    total = options.commitment * commitment.mean()
    if module.update.learns:
        total = total + codebook.mean()
    if options.diversity > 0:
        total = total + options.diversity * torch.stack([r.diversity for r in results]).mean()
    if options.orthogonal > 0:
        total = total + options.orthogonal * torch.stack([r.orthogonal for r in results]).mean()
    return QuantizerLosses(total, commitment, codebook)
