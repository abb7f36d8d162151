"""``GroupedResidualVQ`` with the original's arguments, results and checkpoints."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from spinlock.compat.vector_quantize_pytorch.levels import draw_last_level, draw_seed
from spinlock.compat.vector_quantize_pytorch.options import require
from spinlock.compat.vector_quantize_pytorch.residual_vq import ResidualVQ
from spinlock.errors import InputError
from spinlock.modules.messages import one_message

__all__ = ["GroupedResidualVQ"]


class GroupedResidualVQ(nn.Module):
    """The channels in groups, each with a ResidualVQ of its own.

    >>> grouped = GroupedResidualVQ(dim=16, groups=2, num_quantizers=4, codebook_size=8)
    >>> quantized, indices, losses = grouped(torch.randn(2, 10, 16))
    >>> quantized.shape, indices.shape, losses.shape
    (torch.Size([2, 10, 16]), torch.Size([2, 2, 10, 4]), torch.Size([2, 4]))
    """

    def __init__(
        self, *, dim: int, groups: int = 1, accept_image_fmap: bool = False, **kwargs: Any
    ) -> None:
        super().__init__()
        require(
            groups >= 1 and dim % groups == 0,
            "groups",
            f"a number that divides dim={dim}, got {groups}",
            "choose another one",
        )
        self.dim, self.groups, self.accept_image_fmap = dim, groups, accept_image_fmap
        self.rvqs = nn.ModuleList(
            ResidualVQ(dim=dim // groups, accept_image_fmap=accept_image_fmap, **kwargs)
            for _ in range(groups)
        )

    @property
    def _parts(self) -> list[ResidualVQ]:
        return cast("list[ResidualVQ]", list(self.rvqs))

    @property
    def codebooks(self) -> Tensor:
        """[groups, levels, K, D], where all levels have one size."""
        return torch.stack([cast(Tensor, part.codebooks) for part in self._parts])

    @property
    def split_dim(self) -> int:
        """The dimension of the channels."""
        return 1 if self._parts[0].channels_first else -1

    def get_codes_from_indices(self, indices: Tensor | Sequence[Tensor]) -> Tensor:
        """Indices [groups, batch, n, L] -> [groups, levels, batch, n, codebook_dim]."""
        pairs = zip(self._parts, indices, strict=True)
        return torch.stack([part.get_codes_from_indices(own) for part, own in pairs])

    def get_output_from_indices(self, indices: Tensor | Sequence[Tensor]) -> Tensor:
        """What forward returned as quantized for these indices, in eval mode."""
        pairs = zip(self._parts, indices, strict=True)
        outputs = [part.get_output_from_indices(own) for part, own in pairs]
        return torch.cat(outputs, dim=self.split_dim)

    def forward(
        self,
        x: Tensor,
        indices: Tensor | Sequence[Tensor] | None = None,
        return_all_codes: bool = False,
        sample_codebook_temp: float | None = None,
        freeze_codebook: bool = False,
        mask: Tensor | None = None,
    ) -> tuple[Any, ...]:
        """(quantized, indices [groups, .., L], losses [groups, L]), and codes per group if asked.

        With ``indices`` given: (quantized, the sum of all cross entropies).

        Raises:
            InputError: a tensor of another shape or type.
        """
        if x.ndim < 2 or x.shape[self.split_dim] != self.dim:
            raise InputError(
                f"x: expected {self.dim} channels in dimension {self.split_dim}, got "
                f"{list(x.shape)}; see accept_image_fmap"
            )
        targets = [None] * self.groups if indices is None or not len(indices) else list(indices)
        first, last_level = self._parts[0], None
        if self.training:
            # One draw for all groups; made whether or not levels are dropped, as in the original.
            traced = torch.compiler.is_compiling()
            seed = None if traced else draw_seed(x.device)
            if first.quantize_dropout and targets[0] is None:
                last_level = draw_last_level(
                    seed,
                    x.device,
                    first.quantize_dropout_cutoff_index,
                    first.num_quantizers,
                    first.quantize_dropout_multiple_of,
                )
        with one_message():
            results = [
                part(
                    chunk,
                    mask=mask,
                    indices=target,
                    return_all_codes=return_all_codes,
                    sample_codebook_temp=sample_codebook_temp,
                    freeze_codebook=freeze_codebook,
                    last_level=last_level,
                )
                for part, chunk, target in zip(
                    self._parts, x.chunk(self.groups, dim=self.split_dim), targets, strict=True
                )
            ]
        quantized = torch.cat([result[0] for result in results], dim=self.split_dim)
        if targets[0] is not None:
            return quantized, torch.stack([result[1] for result in results]).sum()
        tokens = torch.stack([result[1] for result in results])
        losses = torch.stack([result[2] for result in results])
        if not return_all_codes:
            return quantized, tokens, losses
        return quantized, tokens, losses, tuple(result[3] for result in results)
