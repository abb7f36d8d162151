"""The published form: every category and level has a head and a codebook of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spinlock.modules import RaggedVectorQuantizer
from spinlock.vqvae.auxiliary import orthogonality_loss, topographic_loss
from spinlock.vqvae.categorical_vqvae import CategoricalHierarchicalVQVAE
from spinlock.vqvae.config import CategoricalVQVAEConfig
from spinlock.vqvae.decoder_tables import DecoderTables, TokenTables, decoder_maps
from spinlock.vqvae.packed import PackedLayerNorm, PackedLinear, PackedSegments

# Pairwise losses grow with the square of the rows; this many say enough about a batch.
_PAIRWISE_ROWS = 128


class IndependentVQVAE(CategoricalHierarchicalVQVAE):
    """Per-category MLP embedding, one LayerNorm head per level, one shared decoder of all codes.

    With their weights above 0, three losses are added: ``orthogonality`` between the categories'
    latents, ``informativeness`` (a partial decoder per category and level reconstructs the
    category's features from that level's codes alone) and ``topographic`` (distances between
    latents follow the distances between features).  The pairwise two look at the first 128 rows
    of a batch.
    """

    quantizer: RaggedVectorQuantizer

    def __init__(self, config: CategoricalVQVAEConfig) -> None:
        super().__init__(config)
        levels = config.num_levels
        widths = tuple(dim for dims in config.latent_dims for dim in dims)
        self.heads_out = PackedSegments(widths)
        self.category_latents = PackedSegments([sum(dims) for dims in config.latent_dims])
        self.heads = PackedLinear([config.group_embedding_dim] * len(widths), widths)
        self.head_dropout = nn.Dropout(config.dropout)
        self.head_norm = PackedLayerNorm(self.heads_out)
        self.quantizer = RaggedVectorQuantizer(
            [size for sizes in config.codebook_sizes for size in sizes],
            widths,
            **self._codebook_options(),
        )
        self.decoder = self._shared_decoder(sum(widths), zero_init=False)
        self.partial_decoders: PackedLinear | None = None
        if config.informativeness_weight > 0.0:
            sizes = [size for size in config.category_sizes for _ in range(levels)]
            self.partial_decoders = PackedLinear(widths, sizes)

    def encode(self, x: Tensor) -> Tensor:
        """Features ``[B, N]`` to latents ``[B, sum of all latent dims]``, category-major."""
        self._check_features(x)
        config = self.config
        width = config.group_embedding_dim
        embedding = self.encoder(x).view(x.shape[0], config.num_categories, 1, width)
        per_head = embedding.expand(-1, -1, config.num_levels, -1).flatten(1)
        latents: Tensor = self.head_norm(self.head_dropout(self.heads(per_head)))
        return latents

    def decode(self, quantized: Tensor) -> Tensor:
        """Quantized latents ``[B, sum of all latent dims]`` to features ``[B, N]``."""
        reconstruction: Tensor = self.decoder(quantized)
        return reconstruction

    def _decoder_tables(self) -> tuple[DecoderTables, int]:
        into, into_bias, weight, bias = decoder_maps(self.decoder)
        nothing, shares = slice(0, 0), self._code_shares()
        books, start = [], 0
        for quantizer, dim in enumerate(self.heads_out.widths):
            codes = self.quantizer.codebook(quantizer).to(weight.dtype)
            hidden = codes @ into[start : start + dim]
            share = shares[quantizer].to(codes)
            books.append(TokenTables(hidden, hidden[:, :0], nothing, nothing, nothing, share))
            start += dim
        # No path past the hidden layer says which codes are near: all of them are tried.
        largest = max(self.quantizer.layout.codebook_sizes)
        return self._tables(books, into_bias, weight, bias), largest

    def _auxiliary_losses(self, x: Tensor, latents: Tensor, quantized: Tensor) -> dict[str, Tensor]:
        config = self.config
        losses: dict[str, Tensor] = {}
        some = slice(0, _PAIRWISE_ROWS)
        if config.orthogonality_weight > 0.0:
            by_category = self.category_latents.pad(latents[some])
            losses["orthogonality"] = config.orthogonality_weight * orthogonality_loss(by_category)
        if config.topographic_weight > 0.0:
            by_category = self.category_latents.pad(latents[some])
            features = self.features.pad(x[some])
            losses["topographic"] = config.topographic_weight * topographic_loss(
                features, by_category
            )
        if self.partial_decoders is not None:
            losses["informativeness"] = config.informativeness_weight * self._partial_error(
                self.partial_decoders, x, quantized
            )
        return losses

    def _partial_error(self, decoders: PackedLinear, x: Tensor, quantized: Tensor) -> Tensor:
        """Mean squared error, per feature and level, of each level decoding on its own."""
        sizes, levels = list(self.features.widths), self.config.num_levels
        of_category = torch.split(torch.arange(sum(sizes), device=x.device), sizes)
        columns = torch.cat([segment.repeat(levels) for segment in of_category])
        decoded: Tensor = decoders(quantized)
        squared = nn.functional.mse_loss(decoded, x.index_select(1, columns), reduction="sum")
        return squared / max(decoded.numel(), 1)
