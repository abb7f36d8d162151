"""Categories of different widths side by side, and the maps between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from spinlock.ops.ragged_layer_norm import core_ragged_layer_norm
from spinlock.ops.ragged_linear import core_ragged_linear, fits_core, ragged_linear


class PackedSegments(nn.Module):
    """Moves G column segments of different widths between dense and padded form.

    Dense is ``[B, sum(widths)]``, the segments side by side; padded is ``[G, B, max(widths)]``
    with zeros behind each segment, which batched matrix products take.

    >>> segments = PackedSegments((2, 1))
    >>> padded = segments.pad(torch.tensor([[1.0, 2.0, 3.0]]))
    >>> padded.tolist()
    [[[1.0, 2.0]], [[3.0, 0.0]]]
    >>> segments.unpad(padded).tolist()
    [[1.0, 2.0, 3.0]]
    """

    pad_index: Tensor
    unpad_index: Tensor

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.max_width = max(widths)
        total = sum(widths)
        # The dense row gets one zero column appended; padding points at it.
        pad = torch.full((len(widths), self.max_width), total)
        unpad = []
        start = 0
        for group, width in enumerate(widths):
            pad[group, :width] = torch.arange(start, start + width)
            unpad.append(torch.arange(width) + group * self.max_width)
            start += width
        self.register_buffer("pad_index", pad.reshape(-1), persistent=False)
        self.register_buffer("unpad_index", torch.cat(unpad), persistent=False)

    def pad(self, dense: Tensor) -> Tensor:
        """Dense ``[B, sum(widths)]`` to padded ``[G, B, max(widths)]``."""
        extended = nn.functional.pad(dense, (0, 1))
        columns = extended.index_select(1, self.pad_index)
        return columns.view(dense.shape[0], len(self.widths), self.max_width).transpose(0, 1)

    def unpad(self, padded: Tensor) -> Tensor:
        """Padded ``[G, B, max(widths)]`` to dense ``[B, sum(widths)]``."""
        width = len(self.widths) * self.max_width
        rows = padded.transpose(0, 1).reshape(padded.shape[1], width)
        return rows.index_select(1, self.unpad_index)

    def mask(self) -> Tensor:
        """1 inside each segment and 0 in its padding, ``[G, 1, max(widths)]``."""
        inside = self.pad_index < sum(self.widths)
        return inside.to(torch.get_default_dtype()).view(-1, 1, self.max_width)


class PackedLinear(nn.Module):
    """G affine maps of different shapes, side by side.

    Weights in the padding are zero and receive no gradient.  ``zero_init`` starts every map at 0.
    """

    def __init__(
        self,
        in_widths: Sequence[int],
        out_widths: Sequence[int],
        *,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        self.ins, self.outs = PackedSegments(in_widths), PackedSegments(out_widths)
        shape = (len(in_widths), self.ins.max_width, self.outs.max_width)
        weight = torch.zeros(shape)
        if not zero_init:
            for group, (rows, columns) in enumerate(zip(in_widths, out_widths, strict=True)):
                bound = 1.0 / math.sqrt(rows)
                weight[group, :rows, :columns] = torch.empty(rows, columns).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(shape[0], 1, shape[2]))

    def forward(self, dense: Tensor, *, relu: bool = False) -> Tensor:
        """``[B, sum(in_widths)]`` to ``[B, sum(out_widths)]``; ``relu``: nothing below 0."""
        return packed_product(dense, self.weight, self.ins, self.outs, bias=self.bias, relu=relu)


def packed_product(
    dense: Tensor,
    weight: Tensor,
    ins: PackedSegments,
    outs: PackedSegments,
    *,
    bias: Tensor | None = None,
    addend: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Each segment times its matrix, plus a bias or an addend: see :func:`ragged_linear`.

    Where the C++ core does not take the call, one batched product on padded segments does it.
    """
    widths = ins.widths, outs.widths
    done = core_ragged_linear(dense, weight, bias, *widths, addend=addend, relu=relu)
    if done is not None:
        return done
    padded = ins.pad(dense)
    product = torch.bmm(padded, weight) if bias is None else torch.baddbmm(bias, padded, weight)
    result = outs.unpad(product)
    if addend is not None:
        result = result + addend
    return torch.relu(result) if relu else result


class PackedLayerNorm(nn.Module):
    """LayerNorm over each segment of a dense ``[B, sum(widths)]``."""

    segment_mask: Tensor
    segment_widths: Tensor

    def __init__(self, segments: PackedSegments, epsilon: float = 1e-5) -> None:
        super().__init__()
        mask = segments.mask()
        self.epsilon = epsilon
        self.segments = segments
        self.full = all(width == segments.max_width for width in segments.widths)
        self.register_buffer("segment_mask", mask, persistent=False)
        self.register_buffer("segment_widths", mask.sum(-1, keepdim=True), persistent=False)
        self.weight = nn.Parameter(torch.ones_like(mask))
        self.bias = nn.Parameter(torch.zeros_like(mask))

    def forward(self, dense: Tensor) -> Tensor:
        """Normalises to mean 0 and variance 1 within each segment, then scales and shifts."""
        done = core_ragged_layer_norm(
            dense, self.weight, self.bias, self.segments.widths, epsilon=self.epsilon
        )
        if done is not None:
            return done
        if self.full:
            split = dense.view(dense.shape[0], len(self.weight), self.segments.max_width)
            normalised = nn.functional.layer_norm(split, split.shape[2:], eps=self.epsilon)
            return torch.addcmul(self.bias.squeeze(1), normalised, self.weight.squeeze(1)).flatten(
                1
            )
        padded = self.segments.pad(dense)
        mean = (padded * self.segment_mask).sum(-1, keepdim=True) / self.segment_widths
        centred = (padded - mean) * self.segment_mask
        variance = centred.square().sum(-1, keepdim=True) / self.segment_widths
        normalised = centred * torch.rsqrt(variance + self.epsilon)
        return self.segments.unpad(normalised * self.weight + self.bias)


class CategoryEncoder(nn.Module):
    """Per-category MLP embedding: Linear, ReLU, dropout, Linear, LayerNorm.

    Features ``[B, sum(widths)]`` to embeddings ``[B, C * embedding_dim]``.  With ``sees_all`` every
    category's hidden layer also takes all features, by weights that start at 0.
    """

    def __init__(
        self,
        segments: PackedSegments,
        hidden_dim: int,
        embedding_dim: int,
        dropout: float,
        *,
        sees_all: bool = False,
    ) -> None:
        super().__init__()
        count = len(segments.widths)
        self.from_all = FullLinear(sum(segments.widths), count * hidden_dim) if sees_all else None
        self.hidden = PackedLinear(segments.widths, [hidden_dim] * count)
        self.embedding = PackedLinear([hidden_dim] * count, [embedding_dim] * count)
        self.norm = PackedLayerNorm(PackedSegments([embedding_dim] * count))
        self.dropout = nn.Dropout(dropout)

    def forward(self, dense: Tensor) -> Tensor:
        """Features ``[B, sum(widths)]`` to embeddings ``[B, C * embedding_dim]``."""
        hidden = self.dropout(self._hidden(dense))
        embedding: Tensor = self.norm(self.embedding(hidden))
        return embedding

    def _hidden(self, dense: Tensor) -> Tensor:
        own = self.hidden
        if self.from_all is None:
            return cast(Tensor, own(dense, relu=True))
        # All hidden layers are equally wide, so that their biases lie as one layer's would.
        addend = self.from_all(dense, bias=own.bias.view(1, 1, -1))
        return packed_product(dense, own.weight, own.ins, own.outs, addend=addend, relu=True)


class FullLinear(nn.Module):
    """One linear map from all columns to all columns that starts at 0, beside a packed one."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.ins, self.outs = PackedSegments((in_width,)), PackedSegments((out_width,))
        self.weight = nn.Parameter(torch.zeros(1, in_width, out_width))

    def forward(
        self, dense: Tensor, *, bias: Tensor | None = None, addend: Tensor | None = None
    ) -> Tensor:
        """``[B, in_width]`` to ``[B, out_width]``, plus a bias (``[1, 1, ..]``) or an addend."""
        return packed_product(dense, self.weight, self.ins, self.outs, bias=bias, addend=addend)


class SharedDecoder(nn.Sequential):
    """Linear, ReLU, dropout, Linear from all codes side by side to all features."""

    def __init__(
        self, in_width: int, hidden_dim: int, out_width: int, dropout: float, *, zero_init: bool
    ) -> None:
        last = nn.Linear(hidden_dim, out_width)
        if zero_init:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(in_width, hidden_dim), nn.ReLU(), nn.Dropout(dropout), last)

    def forward(self, input: Tensor) -> Tensor:
        """``[B, in_width]`` to ``[B, out_width]``."""
        first, _, dropout, last = self
        if not fits_core(input, cast(nn.Linear, first).weight):
            return cast(Tensor, super().forward(input))  # type: ignore[no-untyped-call]
        hidden = _affine(cast(nn.Linear, first), input, relu=True)
        return _affine(cast(nn.Linear, last), dropout(hidden), relu=False)


def _affine(linear: nn.Linear, x: Tensor, *, relu: bool) -> Tensor:
    widths = (linear.in_features,), (linear.out_features,)
    weight, bias = linear.weight.unsqueeze(0), linear.bias.view(1, 1, -1)
    return ragged_linear(x, weight, bias, *widths, relu=relu, transposed=True)
