"""A decoder of codes as sums over quantizers: what each code adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from spinlock.vqvae.packed import SharedDecoder

__all__ = ["DecoderTables", "TokenTables", "decoder_maps"]


@dataclass(frozen=True, eq=False)
class TokenTables:
    """What each code of one quantizer adds to the decoder.

    Attributes:
        hidden: ``[K, H]``, to the hidden layer before its ReLU.
        direct: ``[K, width of columns]``, to the features, past the hidden layer.
        columns: the features that ``direct`` is about.
        own: the features of the quantizer's category, within ``direct``.
        category: the features of the quantizer's category, within a row; empty without ``direct``.
        share: ``[K]``, of the training rows that have the code; sums to 1.
    """

    hidden: Tensor
    direct: Tensor
    columns: slice
    own: slice
    category: slice
    share: Tensor

    @property
    def has_direct(self) -> bool:
        """Whether codes reach features past the hidden layer."""
        return self.direct.shape[1] > 0


@dataclass(frozen=True, eq=False)
class DecoderTables:
    """A decoder of one hidden ReLU layer, as sums over quantizers.

    With tokens k_q the features are ``bias + sum_q direct_q[k_q] + relu(hidden_bias + sum_q
    hidden_q[k_q]) @ weight``.

    Attributes:
        quantizers: one per column of the tokens, category-major.
        hidden_bias: ``[H]``.
        weight: ``[H, N]``.
        bias: ``[N]``.
        category_columns: the features of each category within a row.
        num_levels: quantizers per category.
    """

    quantizers: Sequence[TokenTables]
    hidden_bias: Tensor
    weight: Tensor
    bias: Tensor
    category_columns: tuple[slice, ...]
    num_levels: int


def decoder_maps(decoder: SharedDecoder) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Its maps ``[W, H]`` and ``[H, N]``, each before its bias, in float32 or wider."""
    first, _, _, last = decoder
    wide = torch.promote_types(cast(nn.Linear, last).weight.dtype, torch.float32)
    into, out = cast(nn.Linear, first), cast(nn.Linear, last)
    return (
        into.weight.T.to(wide),
        into.bias.to(wide),
        out.weight.T.to(wide),
        out.bias.to(wide),
    )
