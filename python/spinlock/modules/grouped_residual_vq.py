"""Channels in groups, each with residual levels of its own."""

from collections.abc import Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from spinlock.errors import ConfigError, InputError
from spinlock.modules.messages import one_message
from spinlock.modules.outputs import (
    QuantizerLosses,
    QuantizerOutput,
    QuantizerUsage,
    UsageSummary,
)
from spinlock.modules.residual_vq import ResidualVQ, join_usage
from spinlock.modules.row_shapes import length_mask, place_rows, restore_rows
from spinlock.modules.vq_options import Shapes
from spinlock.ops._validate import check_tensor

__all__ = ["GroupedResidualVQ"]


class GroupedResidualVQ(nn.Module):
    """A :class:`ResidualVQ` for each of G equal parts of the channels (Yang et al. 2023).

    Args:
        dim: of the tensors given, a multiple of ``groups``.
        codebook_size, num_levels: as in :class:`ResidualVQ`, of every group.
        groups: G >= 1.
        shapes: as there.
        seed: of the first codes; groups differ.
        options: further ones of :class:`ResidualVQ`; ``codebook_dim`` is that of one group.

    Raises:
        ConfigError: options out of their range, or that do not go together.

    >>> quantizer = GroupedResidualVQ(dim=16, codebook_size=8, num_levels=3, groups=2)
    >>> x = torch.randn(2, 50, 16, generator=torch.Generator().manual_seed(0))
    >>> output = quantizer(x)
    >>> output.quantized.shape, output.indices.shape, output.losses.commitment.shape
    (torch.Size([2, 50, 16]), torch.Size([2, 50, 2, 3]), torch.Size([6]))
    >>> output = quantizer.eval()(x)
    >>> torch.equal(quantizer.decode(output.indices), output.quantized)
    True
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int | Sequence[int],
        num_levels: int | None = None,
        *,
        groups: int = 2,
        shapes: Shapes = Shapes(),  # noqa: B008 - frozen
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        if groups < 1 or dim % groups:
            raise ConfigError(
                f"groups: expected a number >= 1 that divides dim={dim}, got {groups}; choose "
                "another one"
            )
        self.dim, self.num_groups, self.shapes = dim, groups, shapes
        inner = Shapes(masked_fill=shapes.masked_fill)
        self.groups = nn.ModuleList(
            ResidualVQ(
                dim // groups,
                codebook_size,
                num_levels,
                shapes=inner,
                seed=seed + 1000 * group,
                **options,
            )
            for group in range(groups)
        )

    @property
    def parts(self) -> list[ResidualVQ]:
        """The groups, typed."""
        return cast("list[ResidualVQ]", list(self.groups))

    def forward(
        self, x: Tensor, mask: Tensor | None = None, lengths: Tensor | None = None
    ) -> QuantizerOutput:
        """Quantizes x as :class:`ResidualVQ` does, group by group.

        Returns:
            quantized like x; indices int64 [*places, G, L]; losses, whose ``commitment`` and
            ``codebook`` are [G * L], group after group, and whose total is the mean over groups;
            usage likewise.

        Raises:
            InputError: another shape or type.
        """
        rows, placement = place_rows(x, self.dim, self.shapes)
        kept = length_mask(placement, mask, lengths)
        chunks = rows.chunk(self.num_groups, dim=1)
        with one_message():
            outputs = [part(chunk, kept) for part, chunk in zip(self.parts, chunks, strict=True)]
        losses = QuantizerLosses(
            torch.stack([output.losses.total for output in outputs]).mean(),
            torch.cat([output.losses.commitment for output in outputs]),
            torch.cat([output.losses.codebook for output in outputs]),
        )
        indices = torch.stack([output.indices for output in outputs], dim=1)
        return QuantizerOutput(
            restore_rows(torch.cat([output.quantized for output in outputs], dim=1), placement),
            indices.view(*placement.lead, *indices.shape[1:]),
            losses,
            QuantizerUsage(torch.cat([output.usage.counts for output in outputs])),
        )

    def decode(self, indices: Tensor) -> Tensor:
        """Indices [*places, G, l], l <= L, -> quantized as forward returned it.

        Raises:
            InputError: another shape or type, or an index out of range.
        """
        check_tensor("indices", indices)
        if indices.ndim < 2 or indices.shape[-2] != self.num_groups:
            raise InputError(
                f"indices: expected [.., {self.num_groups}, levels], got {list(indices.shape)}; "
                "pass indices as forward returns them"
            )
        pairs = zip(self.parts, indices.unbind(dim=-2), strict=True)
        last = torch.cat([part.decode(own) for part, own in pairs], dim=-1)
        return last.movedim(-1, 1) if self.shapes.channels_first and last.ndim > 1 else last

    def freeze(self, frozen: bool = True) -> Self:
        """Keeps the codes of all groups as they are; see :meth:`VectorQuantize.freeze`."""
        for part in self.parts:
            part.freeze(frozen)
        return self

    def usage(self) -> UsageSummary:
        """Use of the codes in training mode since the last reset, group after group."""
        return join_usage([part.usage() for part in self.parts])

    def reset_usage(self) -> None:
        """Starts a new epoch of the usage counters."""
        for part in self.parts:
            part.reset_usage()
