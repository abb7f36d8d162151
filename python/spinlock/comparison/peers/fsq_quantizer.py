"""Finite scalar quantization as a quantizer of the categorical VQ-VAE."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from spinlock.modules.outputs import (
    QuantizerLosses,
    QuantizerOutput,
    QuantizerUsage,
    UsageSummary,
)

# Deviations of a column per unit of tanh's argument: for every L the outermost thresholds then fall
# where Max's quantizer of a Gaussian has them (0.61, 0.98, 1.75, 2.40 for L = 3, 4, 8, 16).
_REACH = 1.78


class FiniteScalarQuantizer(nn.Module):
    """Bounds every latent column by tanh and rounds it to one of L levels; tokens join columns.

    Mentzer et al., Finite Scalar Quantization: VQ-VAE Made Simple, 2023 (arXiv 2309.15505).  With
    half = (L - 1) / 2 a column z becomes the nearest of -half, 1 - half, .., half to
    (half + 1/2) tanh(z / scale), and gradients go straight through the rounding.  There are no
    codebooks: nothing is learned here.  What comes out is multiplied by
    ``gain``, so that a linear decoder starts in the units of the latents; both are fixed once from
    data.

    Args:
        levels: L >= 1 of each latent column.
        groups: columns of each token, in order; a token without a column is always 0.

    >>> fsq = FiniteScalarQuantizer([3, 2], [(0, 1)])
    >>> output = fsq(torch.tensor([[-9.0, 9.0], [0.0, -9.0], [9.0, 9.0]]))
    >>> output.indices.tolist(), output.quantized.tolist()
    ([[3], [1], [5]], [[-1.0, 0.5], [0.0, -0.5], [1.0, 0.5]])
    >>> torch.equal(fsq.decode(output.indices), output.quantized)
    True
    """

    levels: Tensor
    places: Tensor
    scale: Tensor
    gain: Tensor
    counts: Tensor

    def __init__(self, levels: Sequence[int], groups: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.groups = tuple(tuple(group) for group in groups)
        self.codebook_sizes = tuple(prod(levels[c] for c in group) for group in self.groups)
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32))
        # Each column counts so much in its token: mixed radix, the first column fastest.
        places = torch.ones(len(levels), dtype=torch.int64)
        for group in self.groups:
            for before, column in pairwise(group):
                places[column] = places[before] * levels[before]
        self.register_buffer("places", places)
        self.register_buffer("scale", torch.ones(len(levels)))
        self.register_buffer("gain", torch.ones(len(levels)))
        counts = torch.zeros(sum(self.codebook_sizes), dtype=torch.int64)
        self.register_buffer("counts", counts, persistent=False)

    def forward(self, latents: Tensor) -> QuantizerOutput:
        """Latents ``[B, W]`` to quantized ``[B, W]`` and tokens ``[B, Q]``; no losses."""
        bounded, grid = self._on_grid(latents)
        rounded = bounded + (grid - bounded).detach()
        tokens = self._tokens(grid.detach())
        counts = self._counted(tokens)
        if self.training:
            self.counts += counts
        nothing = latents.new_zeros(len(self.groups))
        losses = QuantizerLosses(nothing.sum(), nothing, nothing)
        return QuantizerOutput(rounded * self.gain, tokens, losses, QuantizerUsage(counts))

    def search(self, latents: Tensor, beam: int) -> Tensor:
        """Tokens ``[B, Q]``; whatever the beam, for each column has one nearest level."""
        del beam
        return self._tokens(self._on_grid(latents)[1])

    def decode(self, indices: Tensor) -> Tensor:
        """Tokens ``[B, Q]`` to quantized latents ``[B, W]``."""
        columns = torch.empty(len(indices), len(self.levels), device=indices.device)
        for token, group in zip(indices.T, self.groups, strict=True):
            for column in group:
                size = int(self.levels[column])
                columns[:, column] = (token // self.places[column]) % size
        return (columns - (self.levels - 1) / 2) * self.gain

    @torch.no_grad()
    def initialize_from(self, latents: Tensor, generator: torch.Generator | None = None) -> None:
        """Fixes the scale at each column's deviation, and the gain by least squares."""
        del generator  # nothing is drawn
        self.scale.copy_(latents.std(0, correction=0).clamp(min=1e-6))
        grid = self._on_grid(latents)[1]
        fitted = (latents * grid).sum(0) / grid.square().sum(0).clamp(min=1e-12)
        self.gain.copy_(fitted.clamp(min=1e-6))

    def revive(
        self, latents: Tensor, threshold: float, generator: torch.Generator | None = None
    ) -> int:
        """There is nothing to revive: 0."""
        del latents, threshold, generator
        return 0

    def usage(self) -> UsageSummary:
        """Use of the codes of each token in training mode since the last reset."""
        parts = torch.split(self.counts, list(self.codebook_sizes))
        shares = [part.double() / part.sum().clamp(min=1) for part in parts]
        perplexity = [torch.exp(-torch.xlogy(share, share).sum()) for share in shares]
        return UsageSummary(
            utilization=torch.stack([(part > 0).double().mean() for part in parts]),
            perplexity=torch.stack(perplexity),
            dead=int((self.counts == 0).sum()),
            skipped=torch.zeros(len(parts), dtype=torch.int64),
        )

    def reset_usage(self) -> None:
        """Starts a new epoch of the counts."""
        self.counts.zero_()

    def _on_grid(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Bounded latents and the levels nearest to them, both ``[B, W]`` and without gain."""
        half = (self.levels - 1) / 2
        # A little inside of half a step beyond the last level, so that all rounds to a level.
        bounded = (half + 0.499) * torch.tanh(latents / (_REACH * self.scale))
        # Columns with an even number of levels have none at 0.
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        return bounded, torch.round(bounded - offset) + offset

    def _tokens(self, grid: Tensor) -> Tensor:
        digits = (grid + (self.levels - 1) / 2).to(torch.int64) * self.places
        return torch.stack([digits[:, list(group)].sum(1) for group in self.groups], dim=1)

    def _counted(self, tokens: Tensor) -> Tensor:
        starts = torch.tensor([0, *self.codebook_sizes[:-1]], device=tokens.device).cumsum(0)
        return torch.bincount((tokens + starts).flatten(), minlength=len(self.counts))
