"""Residual levels: each codebook quantizes what the ones before it left."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self, cast

import torch
from torch import Tensor, nn

from spinlock.errors import ConfigError, InputError
from spinlock.modules.messages import one_message
from spinlock.modules.outputs import QuantizerOutput, QuantizerUsage, UsageSummary
from spinlock.modules.residual_levels import (
    LevelResults,
    attach_sum,
    beam_indices,
    draw_num_levels,
    quantize_levels,
)
from spinlock.modules.row_quantizer import codebook_layout
from spinlock.modules.row_shapes import Placement, length_mask, place_rows, restore_rows
from spinlock.modules.vector_quantize import VectorQuantize, combined_losses
from spinlock.modules.vq_options import LevelDropout, Lookup, Regularizers, Shapes, Update
from spinlock.ops._validate import check_tensor

__all__ = ["ResidualVQ", "join_usage"]


class ResidualVQ(nn.Module):
    """Replaces each row by the sum of one code per level.

    The first level quantizes the row, each further one what is left of it.  The gradient estimator
    is applied once, to the sum; the commitment of every level pulls on the rows.

    Args:
        dim: of the tensors given.
        codebook_size: K of all levels, or one per level.
        num_levels: L; None: as many as sizes are given.
        codebook_dim: D; where it is not ``dim``, a linear map leads there and another one back.
        shared_codebooks: all levels use one codebook.
        dropout: how many levels a training step uses; None: all.
        beam: code sequences that eval mode follows, instead of the nearest code of each level: what
            is left is never more.  Training takes the nearest codes.
        lookup, update, regularizers, shapes, backend, seed: as in :class:`VectorQuantize`.

    Raises:
        ConfigError: options out of their range, or that do not go together.
        LayoutError: sizes that describe no codebook.

    >>> quantizer = ResidualVQ(dim=16, codebook_size=8, num_levels=4)
    >>> x = torch.randn(2, 50, 16, generator=torch.Generator().manual_seed(0))
    >>> output = quantizer(x)
    >>> output.quantized.shape, output.indices.shape, output.losses.commitment.shape
    (torch.Size([2, 50, 16]), torch.Size([2, 50, 4]), torch.Size([4]))
    >>> output = quantizer.eval()(x)
    >>> torch.equal(quantizer.decode(output.indices), output.quantized)
    True
    >>> quantizer.decode(output.indices[..., :2]).shape  # coarse: the first two levels
    torch.Size([2, 50, 16])
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int | Sequence[int],
        num_levels: int | None = None,
        *,
        codebook_dim: int | None = None,
        shared_codebooks: bool = False,
        dropout: LevelDropout | None = None,
        beam: int = 1,
        lookup: Lookup = Lookup(),  # noqa: B008 - frozen
        update: Update = Update(),  # noqa: B008
        regularizers: Regularizers = Regularizers(),  # noqa: B008
        shapes: Shapes = Shapes(),  # noqa: B008
        backend: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = _sizes(codebook_size, num_levels, shared_codebooks)
        if beam < 1 or (beam > 1 and lookup.similarity == "cosine"):
            raise ConfigError(
                f"beam: expected at least 1, and 1 with similarity='cosine', got {beam}; leave it "
                "away to take the nearest code of each level"
            )
        if dropout is not None and dropout.at_least > len(sizes):
            raise ConfigError(
                f"dropout.at_least: expected at most {len(sizes)} levels, got {dropout.at_least}; "
                "it is how many levels are always used"
            )
        self.dim, self.shapes, self.dropout, self.beam = dim, shapes, dropout, beam
        self.estimator, self.shared_codebooks = lookup.estimator, shared_codebooks
        codebook_dim = dim if codebook_dim is None else codebook_dim
        self._whole = codebook_layout(1, 1, codebook_dim)
        self.project_in: nn.Module = nn.Identity()
        self.project_out: nn.Module = nn.Identity()
        if codebook_dim != dim:
            self.project_in = nn.Linear(dim, codebook_dim)
            self.project_out = nn.Linear(codebook_dim, dim)
        self.layers = nn.ModuleList(
            VectorQuantize(
                codebook_dim,
                size,
                lookup=replace(lookup, estimator="none"),
                update=update,
                regularizers=regularizers,
                backend=backend,
                seed=seed + level,
            )
            for level, size in enumerate(sizes)
        )
        if shared_codebooks:
            for layer in self.levels[1:]:
                layer.own_bank(self.levels[0].bank)

    @property
    def levels(self) -> list[VectorQuantize]:
        """The layers, typed."""
        return cast("list[VectorQuantize]", list(self.layers))

    @property
    def num_levels(self) -> int:
        """L."""
        return len(self.layers)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None
    ) -> QuantizerOutput:
        """Quantizes [*places, dim], or [batch, dim, *places] with ``shapes.channels_first``.

        Args:
            x: any floating dtype.
            mask: bool [*places], False where a row is padding, as in :class:`VectorQuantize`.
            lengths: int [batch], instead of a mask for x [batch, time, dim].

        Returns:
            quantized like x; indices int64 [*places, L], the codes before the update, -1 for levels
            that the step left out; losses, whose ``commitment`` and ``codebook`` are [L]; usage,
            whose counts are [sum K], level after level.

        Raises:
            InputError: another shape or type.
        """
        rows, placement = place_rows(x, self.dim, self.shapes)
        kept = length_mask(placement, mask, lengths)
        with one_message():
            quantized, results = self.quantize_rows(rows, kept)
        return self.output(rows, quantized, results, placement, kept)

    def quantize_rows(self, rows: Tensor, mask: Tensor | None) -> tuple[Tensor, LevelResults]:
        """Rows [N, dim] -> quantized rows [N, dim] and what the levels returned."""
        inner = self.project_in(rows)
        chosen = None
        if not self.training and self.beam > 1:
            chosen = beam_indices(self.levels, inner, mask, self.beam)
        used: int | Tensor = self.num_levels
        if self.training and self.dropout is not None:
            used = draw_num_levels(self.dropout, self.num_levels, rows.device)
        shared = self.shared_codebooks
        results = quantize_levels(self.levels, inner, mask, chosen, used, shared=shared)
        attached = attach_sum(inner, results, self.estimator, self._whole)
        return self.project_out(attached.to(rows.dtype)), results

    def output(
        self,
        rows: Tensor,
        quantized: Tensor,
        results: LevelResults,
        placement: Placement,
        mask: Tensor | None,
    ) -> QuantizerOutput:
        """What forward returns, of rows."""
        if mask is not None:
            fill = rows if self.shapes.masked_fill == "input" else torch.zeros_like(rows)
            quantized = torch.where(mask.unsqueeze(1), quantized, fill)
        return QuantizerOutput(
            restore_rows(quantized, placement),
            results.indices.view(*placement.lead, self.num_levels),
            combined_losses(results.levels, self.levels[0]),
            QuantizerUsage(torch.cat([level.counts for level in results.levels])),
        )

    def decode(self, indices: Tensor) -> Tensor:
        """Indices [*places, l], l <= L, -> what their levels add up to; -1 adds nothing.

        Raises:
            InputError: another shape or type, or an index out of range.
        """
        check_tensor("indices", indices)
        given = indices.shape[-1] if indices.ndim else 0
        if not 1 <= given <= self.num_levels:
            raise InputError(
                f"indices: expected [.., 1..{self.num_levels}] (one per level), got "
                f"{list(indices.shape)}; pass indices as forward returns them"
            )
        dtype = self.levels[0].dtype
        wide = torch.promote_types(dtype, torch.float32)  # in which forward adds up
        total: Tensor | None = None
        for layer, tokens in zip(self.levels, indices.unbind(dim=-1), strict=False):
            codes = layer.decode_rows(tokens.reshape(-1, 1)).to(wide)
            codes = codes.masked_fill(tokens.reshape(-1, 1) < 0, 0.0)
            total = codes if total is None else total + codes
        assert total is not None
        padding = (indices.reshape(-1, given) < 0).all(dim=1, keepdim=True)
        rows = self.project_out(total.to(dtype)).masked_fill(padding, 0.0)
        last: Tensor = rows.view(*indices.shape[:-1], self.dim)
        return last.movedim(-1, 1) if self.shapes.channels_first and last.ndim > 1 else last

    def freeze(self, frozen: bool = True) -> Self:
        """Keeps the codes of all levels as they are; see :meth:`VectorQuantize.freeze`."""
        for layer in self.levels:
            layer.freeze(frozen)
        return self

    def usage(self) -> UsageSummary:
        """Use of the codes in training mode since the last reset, per codebook."""
        layers = self.levels[:1] if self.shared_codebooks else self.levels
        return join_usage([layer.usage() for layer in layers])

    def reset_usage(self) -> None:
        """Starts a new epoch of the usage counters."""
        for layer in self.levels:
            layer.reset_usage()


def join_usage(parts: Sequence[UsageSummary]) -> UsageSummary:
    """The summaries of several banks as one, in order."""
    return UsageSummary(
        torch.cat([part.utilization for part in parts]),
        torch.cat([part.perplexity for part in parts]),
        sum(part.dead for part in parts),
        torch.cat([part.skipped for part in parts]),
    )


def _sizes(
    codebook_size: int | Sequence[int], num_levels: int | None, shared: bool
) -> tuple[int, ...]:
    if isinstance(codebook_size, Sequence):
        sizes = tuple(codebook_size)
    else:
        sizes = (codebook_size,) * (num_levels or 0)
    if not sizes or (num_levels is not None and len(sizes) != num_levels):
        raise ConfigError(
            f"num_levels: expected a number of levels that fits codebook_size={codebook_size}, got "
            f"{num_levels}; give one size and a number, or one size per level"
        )
    if shared and len(set(sizes)) > 1:
        raise ConfigError(
            f"codebook_size: expected one size with shared_codebooks=True, got {sizes}; give one "
            "number"
        )
    return sizes
