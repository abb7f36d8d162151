"""The residual form: each level quantizes what the levels above it missed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spinlock.modules import NestedResidualQuantizer
from spinlock.vqvae.categorical_vqvae import CategoricalHierarchicalVQVAE
from spinlock.vqvae.config import CategoricalVQVAEConfig
from spinlock.vqvae.decoder_tables import DecoderTables, TokenTables, decoder_maps
from spinlock.vqvae.packed import FullLinear, PackedLinear, PackedSegments, packed_product
from spinlock.vqvae.synthesis import CANDIDATES


class ResidualVQVAE(CategoricalHierarchicalVQVAE):
    """Per category ``z = V x + MLP(x)``; ``x_hat = V^T q + MLP(all q)``; nested residual levels.

    V holds the category's principal axes, and both MLPs start at 0: training starts from PCA with
    residual quantization and improves on it.  A category has one latent vector, as wide as its
    widest level; level l quantizes the first ``latent_dims[c][l]`` coordinates, principal ones
    first, of the residual that the levels before it left.  With ``linear_decoder: all`` a linear
    map from all q to all features, which starts at 0 too, is added to the reconstruction.
    """

    quantizer: NestedResidualQuantizer

    def __init__(self, config: CategoricalVQVAEConfig) -> None:
        super().__init__(config)
        widths = tuple(max(dims) for dims in config.latent_dims)
        self.latents = PackedSegments(widths)
        self.head = PackedLinear(
            [config.group_embedding_dim] * config.num_categories, widths, zero_init=True
        )
        shape = (config.num_categories, self.features.max_width, self.latents.max_width)
        self.analysis_axes = nn.Parameter(torch.zeros(shape))
        self.synthesis_axes = nn.Parameter(torch.zeros(shape[0], shape[2], shape[1]))
        self.head_dropout = nn.Dropout(config.dropout)
        self.quantizer = NestedResidualQuantizer(
            config.codebook_sizes,
            config.latent_dims,
            **self._codebook_options(),
        )
        self.decoder = self._shared_decoder(sum(widths), zero_init=True)
        self.full_synthesis: FullLinear | None = None
        if config.linear_decoder == "all":
            self.full_synthesis = FullLinear(sum(widths), config.num_features)
        self._init_axes_without_data()

    def encode(self, x: Tensor) -> Tensor:
        """Features ``[B, N]`` to latents ``[B, sum of category widths]``."""
        self._check_features(x)
        correction = self.head_dropout(self.head(self.encoder(x)))
        return packed_product(x, self.analysis_axes, self.features, self.latents, addend=correction)

    def decode(self, quantized: Tensor) -> Tensor:
        """Quantized latents ``[B, sum of category widths]`` to features ``[B, N]``."""
        addend = self.decoder(quantized)
        if self.full_synthesis is not None:
            addend = self.full_synthesis(quantized, addend=addend)
        return packed_product(
            quantized, self.synthesis_axes, self.latents, self.features, addend=addend
        )

    @torch.no_grad()
    def initialize_from(self, x: Tensor, generator: torch.Generator) -> None:
        """Sets the linear path to the principal axes of ``x [B, N]``, then the codebooks."""
        self._check_features(x)
        start = 0
        for category, size in enumerate(self.config.category_sizes):
            columns = x[:, start : start + size]
            self._set_axes(category, principal_axes(columns))
            start += size
        super().initialize_from(x, generator)

    def decoder_parameters(self) -> list[nn.Parameter]:
        """The parameters that :meth:`decode` depends on; codes are the quantizer's."""
        full = [] if self.full_synthesis is None else [self.full_synthesis.weight]
        return [self.synthesis_axes, *full, *super().decoder_parameters()]

    def _search(self, latents: Tensor, beam: int) -> Tensor:
        return self.quantizer.search(latents, beam)

    def _decoder_tables(self) -> tuple[DecoderTables, int]:
        into, into_bias, weight, bias = decoder_maps(self.decoder)
        shares = self._code_shares()
        books: list[TokenTables] = []
        latent = 0
        for category, columns in enumerate(self._category_columns()):
            size = columns.stop - columns.start
            for level in range(self.config.num_levels):
                codes = self.quantizer.codebook(category, level).to(weight.dtype)
                dim = codes.shape[1]
                axes = self.synthesis_axes[category, :dim, :size].to(weight.dtype)
                hidden, direct = codes @ into[latent : latent + dim], codes @ axes
                reached, own = columns, slice(None)
                if self.full_synthesis is not None:
                    full = self.full_synthesis.weight[0, latent : latent + dim].to(codes)
                    everywhere = codes @ full
                    everywhere[:, columns] += direct
                    direct, reached, own = everywhere, slice(None), columns
                # The bank is level-major.
                share = shares[level * self.config.num_categories + category].to(codes)
                books.append(TokenTables(hidden, direct, reached, own, columns, share))
            latent += self.latents.widths[category]
        return self._tables(books, into_bias, weight, bias), CANDIDATES

    def _init_axes_without_data(self) -> None:
        """Coordinate axes until :meth:`initialize_from` sees data, so that z is never all 0."""
        for category, size in enumerate(self.config.category_sizes):
            self._set_axes(category, torch.eye(size))

    @torch.no_grad()
    def _set_axes(self, category: int, axes: Tensor) -> None:
        width = self.latents.widths[category]
        axes = axes[:, :width].to(self.analysis_axes)
        self.analysis_axes[category].zero_()[: axes.shape[0], :width] = axes
        self.synthesis_axes[category].zero_()[:width, : axes.shape[0]] = axes.T


def principal_axes(columns: Tensor) -> Tensor:
    """Principal axes of ``columns [B, n]`` as columns ``[n, n]``, largest variance first.

    The largest entry of each axis is positive, so that the result does not hang on the solver.
    """
    centred = (columns - columns.mean(0)).double()
    covariance = centred.T @ centred / max(len(columns), 1)
    axes: Tensor = torch.linalg.eigh(covariance).eigenvectors.flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return axes * torch.where(largest < 0, -1.0, 1.0)
