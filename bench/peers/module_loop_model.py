"""The categorical hierarchical VQ-VAE as it is usually written: a module per category and level.

Encoders, heads, codebooks and decoders are plain ``nn.Module`` objects in Python loops; sizes,
losses and update rules are those of :mod:`spinlock.vqvae`, to which nothing here reaches but for
the sizes in its configuration.  The two methods that need data, :meth:`initialize_from` and
:meth:`revive`, draw from the generators in the same order as spinlock does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from bench.errors import BenchError
from spinlock.vqvae import CategoricalVQVAEConfig

__all__ = [
    "Codebook",
    "IndependentLoop",
    "LoopOutput",
    "LoopVQVAE",
    "Quantized",
    "ResidualLoop",
    "linear",
]

_PAIRWISE_ROWS = 128
_EPSILON = 1e-8


class Codebook(nn.Module):
    """A codebook with moving averages (van den Oord et al. 2017, appendix A.1), in plain torch."""

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, size: int, dim: int, decay: float, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.decay, self.epsilon = decay, epsilon
        codes = (2.0 * torch.rand(size, dim) - 1.0) / size
        self.register_buffer("codes", codes)
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", codes.clone())

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows ``[B, D]`` -> (indices ``[B]``, their codes ``[B, D]``); learns in training mode."""
        norms = self.codes.square().sum(1)
        indices = torch.addmm(norms, x, self.codes.t(), alpha=-2.0).argmin(1)
        chosen = self.codes.index_select(0, indices)
        if self.training:
            self._update(x, indices)
        return indices, chosen

    def place(self, which: Tensor, codes: Tensor, count: Tensor) -> None:
        """Sets codes; sums follow as code * count."""
        self.codes[which] = codes
        self.counts[which] = count
        self.sums[which] = codes * count

    def _update(self, x: Tensor, indices: Tensor) -> None:
        size = len(self.codes)
        counts = torch.bincount(indices, minlength=size).to(x.dtype)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, x)
        self.counts.mul_(self.decay).add_(counts, alpha=1.0 - self.decay)
        self.sums.mul_(self.decay).add_(sums, alpha=1.0 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + self.epsilon) / (total + size * self.epsilon) * total
        self.codes.copy_(self.sums / smoothed.unsqueeze(1))


class Quantized(NamedTuple):
    """``indices`` ``[B, C * L]`` category-major, ``quantized`` per category, commitment terms."""

    indices: Tensor
    quantized: list[Tensor]
    commitment: list[Tensor]


class LoopOutput(NamedTuple):
    """As spinlock's: reconstruction ``[B, N]``, indices and weighted loss terms with ``total``."""

    reconstruction: Tensor
    indices: Tensor
    losses: dict[str, Tensor]


class CategoryEncoder(nn.Module):
    """Linear, ReLU, dropout, Linear, LayerNorm of one category."""

    def __init__(self, width: int, config: CategoricalVQVAEConfig) -> None:
        super().__init__()
        self.hidden = linear(width, config.group_hidden_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.embedding = linear(config.group_hidden_dim, config.group_embedding_dim)
        self.norm = nn.LayerNorm(config.group_embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, width]`` to ``[B, embedding_dim]``."""
        hidden = self.dropout(torch.relu(self.hidden(x)))
        embedding: Tensor = self.norm(self.embedding(hidden))
        return embedding


class LoopVQVAE(nn.Module, ABC):
    """What both forms share; ``codebooks[c][l]`` belongs to category c and level l."""

    def __init__(self, config: CategoricalVQVAEConfig, widths: list[int]) -> None:
        super().__init__()
        if not config.use_ema:
            raise BenchError("module_loop: expected use_ema true, got false; it has EMA codebooks")
        self.config = config
        self.encoders = nn.ModuleList(CategoryEncoder(n, config) for n in config.category_sizes)
        self.codebooks = nn.ModuleList(
            nn.ModuleList(
                Codebook(size, dim, config.decay) for size, dim in zip(sizes, dims, strict=True)
            )
            for sizes, dims in zip(config.codebook_sizes, config.latent_dims, strict=True)
        )
        self.decoder = nn.Sequential(
            nn.Linear(sum(widths), config.decoder_hidden_dim),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.decoder_hidden_dim, config.num_features),
        )

    def codebook(self, category: int, level: int) -> Codebook:
        """One of the codebooks."""
        return cast(Codebook, cast(nn.ModuleList, self.codebooks[category])[level])

    @abstractmethod
    def encode(self, x: Tensor) -> list[Tensor]:
        """Features ``[B, N]`` to what :meth:`quantize` takes."""

    @abstractmethod
    def quantize(self, latents: list[Tensor]) -> Quantized:
        """Latents to codes; learns in training mode."""

    @abstractmethod
    def decode(self, quantized: list[Tensor]) -> Tensor:
        """Quantized latents to features ``[B, N]``."""

    def forward(self, x: Tensor) -> LoopOutput:
        """Encodes, quantizes and decodes ``[B, N]`` and computes every loss term."""
        latents = self.encode(x)
        output = self.quantize(latents)
        reconstruction = self.decode(output.quantized)
        terms = torch.stack(output.commitment)
        commitment = terms.mean() if self.config.commitment_reduction == "mean" else terms.sum()
        losses = {
            "reconstruction": nn.functional.mse_loss(reconstruction, x),
            "commitment": self.config.commitment_cost * commitment,
            **self.auxiliary_losses(x, latents, output.quantized),
        }
        losses["total"] = torch.stack(list(losses.values())).sum()
        return LoopOutput(reconstruction, output.indices, losses)

    def auxiliary_losses(
        self, x: Tensor, latents: list[Tensor], quantized: list[Tensor]
    ) -> dict[str, Tensor]:
        """Further weighted terms; none here."""
        del x, latents, quantized
        return {}

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features per category."""
        return torch.split(x, list(self.config.category_sizes), dim=1)


class ResidualLoop(LoopVQVAE):
    """``z = V x + MLP(x)``, ``x_hat = V^T q + MLP(all q)``; levels quantize what is left."""

    def __init__(self, config: CategoricalVQVAEConfig) -> None:
        widths = [max(dims) for dims in config.latent_dims]
        super().__init__(config, widths)
        sizes = config.category_sizes
        pairs = list(zip(sizes, widths, strict=True))
        self.heads = nn.ModuleList(linear(config.group_embedding_dim, w, 0.0) for w in widths)
        self.dropout = nn.Dropout(config.dropout)
        self.analysis = nn.ModuleList(nn.Linear(n, w, bias=False) for n, w in pairs)
        self.synthesis = nn.ModuleList(nn.Linear(w, n, bias=False) for n, w in pairs)
        last = cast(nn.Linear, self.decoder[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def encode(self, x: Tensor) -> list[Tensor]:
        """One latent vector per category."""
        modules: Any = zip(self.encoders, self.heads, self.analysis, self.split(x), strict=True)
        return [
            axes(part) + self.dropout(head(encoder(part))) for encoder, head, axes, part in modules
        ]

    def quantize(self, latents: list[Tensor]) -> Quantized:
        """Level by level, each on the first coordinates of the residual."""
        indices, quantized, commitment = [], [], []
        for category, z in enumerate(latents):
            residual, total = z, torch.zeros_like(z)
            for level, dim in enumerate(self.config.latent_dims[category]):
                part = residual[:, :dim]
                index, codes = self.codebook(category, level)(part.detach())
                commitment.append(nn.functional.mse_loss(part, codes))
                widened = nn.functional.pad(codes, (0, z.shape[1] - dim))
                residual = residual - widened
                total = total + widened
                indices.append(index)
            quantized.append(z + (total - z).detach())
        return Quantized(torch.stack(indices, dim=1), quantized, commitment)

    def decode(self, quantized: list[Tensor]) -> Tensor:
        """The linear path of each category plus the shared decoder."""
        parts = [axes(q) for axes, q in zip(self.synthesis, quantized, strict=True)]
        reconstruction: Tensor = torch.cat(parts, dim=1) + self.decoder(torch.cat(quantized, dim=1))
        return reconstruction


class IndependentLoop(LoopVQVAE):
    """A head with LayerNorm and a codebook per category and level; one shared decoder."""

    def __init__(self, config: CategoricalVQVAEConfig) -> None:
        widths = [dim for dims in config.latent_dims for dim in dims]
        super().__init__(config, widths)
        self.heads = nn.ModuleList(
            nn.Sequential(
                linear(config.group_embedding_dim, w), nn.Dropout(config.dropout), nn.LayerNorm(w)
            )
            for w in widths
        )
        sizes = [n for n in config.category_sizes for _ in range(config.num_levels)]
        self.partial_decoders = nn.ModuleList()
        if config.informativeness_weight > 0.0:
            pairs = zip(widths, sizes, strict=True)
            self.partial_decoders = nn.ModuleList(linear(w, n) for w, n in pairs)

    def encode(self, x: Tensor) -> list[Tensor]:
        """One latent vector per category and level."""
        pairs: Any = zip(self.encoders, self.split(x), strict=True)
        embeddings = [encoder(part) for encoder, part in pairs]
        levels = self.config.num_levels
        return [head(embeddings[i // levels]) for i, head in enumerate(self.heads)]

    def quantize(self, latents: list[Tensor]) -> Quantized:
        """Every latent vector by its own codebook."""
        indices, quantized, commitment = [], [], []
        for i, z in enumerate(latents):
            index, codes = self.codebook(*divmod(i, self.config.num_levels))(z.detach())
            commitment.append(nn.functional.mse_loss(z, codes))
            quantized.append(z + (codes - z).detach())
            indices.append(index)
        return Quantized(torch.stack(indices, dim=1), quantized, commitment)

    def decode(self, quantized: list[Tensor]) -> Tensor:
        """All codes side by side through the shared decoder."""
        reconstruction: Tensor = self.decoder(torch.cat(quantized, dim=1))
        return reconstruction

    def auxiliary_losses(
        self, x: Tensor, latents: list[Tensor], quantized: list[Tensor]
    ) -> dict[str, Tensor]:
        """The terms with a weight above 0, as :mod:`spinlock.vqvae.auxiliary` defines them."""
        config, levels = self.config, self.config.num_levels
        starts = range(0, len(latents), levels)
        own = [torch.cat(latents[i : i + levels], dim=1)[:_PAIRWISE_ROWS] for i in starts]
        parts = self.split(x)
        losses = {}
        if config.orthogonality_weight > 0.0:
            losses["orthogonality"] = config.orthogonality_weight * _alignment(own)
        if config.topographic_weight > 0.0:
            near = [_topography(p[:_PAIRWISE_ROWS], z) for p, z in zip(parts, own, strict=True)]
            losses["topographic"] = config.topographic_weight * torch.stack(near).mean()
        if config.informativeness_weight > 0.0:
            squared = [
                (decoder(q) - parts[i // levels]).square().sum()
                for i, (decoder, q) in enumerate(zip(self.partial_decoders, quantized, strict=True))
            ]
            error = torch.stack(squared).sum() / (levels * x.numel())
            losses["informativeness"] = config.informativeness_weight * error
        return losses


def linear(in_width: int, out_width: int, scale: float = 1.0) -> nn.Linear:
    """Weights uniform in +- ``scale / sqrt(in_width)``, which is torch's own rule; bias 0."""
    layer = nn.Linear(in_width, out_width)
    with torch.no_grad():
        layer.weight.mul_(scale)
        layer.bias.zero_()
    return layer


def _alignment(latents: list[Tensor]) -> Tensor:
    """Mean linear CKA over the pairs of categories."""
    grams = []
    for z in latents:
        centred = z - z.mean(0)
        grams.append((centred @ centred.t()).flatten())
    units = [g / g.norm().clamp_min(_EPSILON) for g in grams]
    pairs = [(a * b).sum() for i, a in enumerate(units) for b in units[i + 1 :]]
    return torch.stack(pairs).mean() if pairs else latents[0].new_zeros(())


def _topography(features: Tensor, latents: Tensor) -> Tensor:
    """1 - Pearson's correlation of the pairwise distances of one category."""
    rows = len(features)
    if rows < 3:
        return latents.new_zeros(())
    first, second = torch.triu_indices(rows, rows, 1)
    a, b = (_distances(points)[first, second] for points in (features, latents))
    a, b = a - a.mean(), b - b.mean()
    correlation: Tensor = (a * b).sum() / (a.norm() * b.norm()).clamp_min(_EPSILON)
    return torch.rsub(correlation, 1.0)


def _distances(points: Tensor) -> Tensor:
    squared = points.square().sum(1)
    distances = squared[:, None] + squared[None, :] - 2.0 * points @ points.t()
    return torch.sqrt(distances.clamp_min(0.0) + _EPSILON)
