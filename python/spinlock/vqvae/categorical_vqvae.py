"""The protocol that both forms of the categorical hierarchical VQ-VAE share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

import torch
from torch import Tensor, nn

from spinlock.errors import InputError
from spinlock.modules import NestedResidualQuantizer, RaggedVectorQuantizer
from spinlock.modules.outputs import QuantizerOutput, UsageSummary
from spinlock.vqvae.config import CategoricalVQVAEConfig
from spinlock.vqvae.decoder_tables import DecoderTables, TokenTables
from spinlock.vqvae.outputs import CodebookOptions, VQVAEOutput
from spinlock.vqvae.own_error import check_own_error_limit, own_errors
from spinlock.vqvae.packed import CategoryEncoder, PackedSegments, SharedDecoder
from spinlock.vqvae.restarts import check_restarts, searched_tokens


class CategoricalHierarchicalVQVAE(nn.Module, ABC):
    """Features ``[B, N]``, grouped by category, to tokens ``[B, C * L]`` and back.

    Subclasses give :meth:`encode` and :meth:`decode`; the quantizer is a module of
    :mod:`spinlock.modules`.  In training mode a forward pass also updates EMA codebooks; in
    evaluation mode nothing is written.  Build one with :func:`spinlock.vqvae.build_vqvae`.

    Attributes:
        config: the dimensions and options it was built from.
        features: moves features between dense ``[B, N]`` and padded per category.
        encoder: each category's MLP embedding.
        quantizer: the quantizer of all categories and levels.
        decoder: the MLP that all categories share.
    """

    quantizer: NestedResidualQuantizer | RaggedVectorQuantizer
    decoder: SharedDecoder

    def __init__(self, config: CategoricalVQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.features = PackedSegments(config.category_sizes)
        self.encoder = CategoryEncoder(
            self.features,
            config.group_hidden_dim,
            config.group_embedding_dim,
            config.dropout,
            sees_all=config.encoder_inputs == "all",
        )

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Features ``[B, N]`` to the latents that the quantizer takes, ``[B, W]``.

        Raises:
            InputError: features of another shape or type.
        """

    @abstractmethod
    def decode(self, quantized: Tensor) -> Tensor:
        """Quantized latents ``[B, W]`` to reconstructed features ``[B, N]``."""

    def quantize(self, latents: Tensor) -> QuantizerOutput:
        """Latents ``[B, W]`` to codes; in training mode this updates EMA codebooks."""
        output: QuantizerOutput = self.quantizer(latents)
        return output

    def forward(self, x: Tensor) -> VQVAEOutput:
        """Encodes, quantizes and decodes ``[B, N]`` and computes every loss term."""
        latents = self.encode(x)
        output = self.quantize(latents)
        reconstruction = self.decode(output.quantized)
        squared = nn.functional.mse_loss(reconstruction, x, reduction="sum")
        losses = {"reconstruction": squared / max(x.numel(), 1)}  # no rows have no error
        reduce = torch.mean if self.config.commitment_reduction == "mean" else torch.sum
        losses["commitment"] = self.config.commitment_cost * reduce(output.losses.commitment)
        if not self.config.use_ema:
            losses["codebook"] = reduce(output.losses.codebook)
        losses.update(self._auxiliary_losses(x, latents, output.quantized))
        losses["total"] = torch.stack(list(losses.values())).sum()
        return VQVAEOutput(reconstruction, output.indices, losses)

    @torch.no_grad()
    def get_tokens(
        self,
        x: Tensor,
        beam: int = 1,
        sweeps: int = 0,
        own_error_limit: float | None = None,
        restarts: int = 0,
    ) -> Tensor:
        """Tokens int64 ``[B, C * L]`` of features ``[B, N]``, category-major; writes no state.

        Args:
            x: the features.
            beam: code sequences to follow through the levels of a category; 1 takes the nearest
                code of each level.
            sweeps: times that every token is reconsidered by what the whole decoder makes of it;
                see :meth:`sweep`.
            own_error_limit: of the sweeps; see :meth:`sweep`.
            restarts: of the sweeps; see :meth:`sweep`.

        Raises:
            InputError: features of another shape or type, a ``beam`` that the form has not,
                ``sweeps`` below 0, an ``own_error_limit`` below 1, or ``restarts`` below 0 or
                without sweeps.
        """
        check_restarts(restarts, sweeps)
        with self._evaluating():
            tokens = self._search(self.encode(x), beam)
            if sweeps == 0:
                return tokens
            return self.sweep(x, tokens, sweeps, own_error_limit, restarts)

    @torch.no_grad()
    def sweep(
        self,
        x: Tensor,
        tokens: Tensor,
        sweeps: int = 1,
        own_error_limit: float | None = None,
        restarts: int = 0,
    ) -> Tensor:
        """Tokens int64 ``[B, C * L]`` that decode closer to ``x [B, N]`` than ``tokens`` do.

        Analysis by synthesis: see :func:`spinlock.vqvae.synthesis.swept_tokens`.  No row's squared
        error over all features is ever larger than before.  With ``own_error_limit``, 1 or more, no
        row's :meth:`own_errors` become more than so many times those of ``tokens``, to rounding.
        ``restarts`` times the sweeps begin anew, with a fifth of the best tokens displaced, and
        what decodes closer is kept (:func:`spinlock.vqvae.restarts.searched_tokens`).  Writes no
        state.

        Raises:
            InputError: features of another shape or type, ``sweeps`` below 0, an
                ``own_error_limit`` below 1, or ``restarts`` below 0 or without sweeps.
        """
        self._check_features(x)
        check_own_error_limit(own_error_limit)
        if sweeps < 0:
            raise InputError(f"sweeps: expected at least 0, got {sweeps}; 0 keeps every token")
        check_restarts(restarts, sweeps)
        with self._evaluating():
            tables, candidates = self._decoder_tables()
            return searched_tokens(
                x.to(tables.weight.dtype),
                tokens,
                tables,
                lambda found: self._squared_error(x, found),
                sizes=[size for sizes in self.config.codebook_sizes for size in sizes],
                sweeps=sweeps,
                restarts=restarts,
                candidates=candidates,
                own_error_limit=own_error_limit,
            )

    @torch.no_grad()
    def own_errors(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Per row and category ``[B, C]``: the error of what its own tokens alone say of it.

        Mean squared error over the category's features, where what the other categories' tokens add
        to the decoder is replaced by its mean over training, by the codes' running counts of use.
        The gap to the error of the whole row is what the other categories' tokens tell of this one.

        Args:
            x: features ``[B, N]``.
            tokens: int64 ``[B, C * L]``.

        Raises:
            InputError: features of another shape or type.
        """
        self._check_features(x)
        with self._evaluating():
            tables, _ = self._decoder_tables()
            return own_errors(x.to(tables.weight.dtype), tokens, tables)

    @torch.no_grad()
    def get_category_tokens(self, x: Tensor) -> dict[str, Tensor]:
        """Tokens ``[B, L]`` per category name."""
        tokens = torch.split(self.get_tokens(x), self.config.num_levels, dim=1)
        return dict(zip(self.config.category_names, tokens, strict=True))

    @torch.no_grad()
    def decode_from_tokens(self, tokens: Tensor) -> Tensor:
        """Features ``[B, N]`` that the tokens ``[B, C * L]`` stand for; writes no state."""
        with self._evaluating():
            return self.decode(self.quantizer.decode(tokens))

    @torch.no_grad()
    def initialize_from(self, x: Tensor, generator: torch.Generator) -> None:
        """Initialises what depends on data from training features ``[B, N]``: the codebooks."""
        with self._evaluating():
            self.quantizer.initialize_from(self.encode(x), generator)

    @torch.no_grad()
    def revive(self, x: Tensor, threshold: float, generator: torch.Generator) -> int:
        """Moves codes used less than ``threshold`` x the mean onto rows of ``x``; their number."""
        with self._evaluating():
            return self.quantizer.revive(self.encode(x), threshold, generator)

    def decoder_parameters(self) -> list[nn.Parameter]:
        """The parameters that :meth:`decode` depends on; codes are the quantizer's."""
        return list(self.decoder.parameters())

    def usage(self) -> UsageSummary:
        """Utilization, perplexity and dead codes since the last :meth:`reset_usage`."""
        return self.quantizer.usage()

    def reset_usage(self) -> None:
        """Starts the usage counters anew, as at the start of an epoch."""
        self.quantizer.reset_usage()

    def _search(self, latents: Tensor, beam: int) -> Tensor:
        """Tokens of latents ``[B, W]``; forms with levels that build on one another override it."""
        if beam != 1:
            raise InputError(
                f"beam: expected 1 for hierarchy '{self.config.hierarchy}', got {beam}; its levels "
                "do not build on one another, so that there is nothing to search"
            )
        return self.quantize(latents).indices

    def _squared_error(self, x: Tensor, tokens: Tensor) -> Tensor:
        """float64 ``[B]``: over all features of what the tokens decode to."""
        decoded = self.decode(self.quantizer.decode(tokens))
        return (x - decoded).double().square().sum(1)

    @abstractmethod
    def _decoder_tables(self) -> tuple[DecoderTables, int]:
        """What each code adds to :meth:`decode`, and how many codes a sweep tries at a time."""

    def _tables(
        self, books: list[TokenTables], hidden_bias: Tensor, weight: Tensor, bias: Tensor
    ) -> DecoderTables:
        columns = self._category_columns()
        return DecoderTables(books, hidden_bias, weight, bias, columns, self.config.num_levels)

    def _category_columns(self) -> tuple[slice, ...]:
        """The features of each category within a row."""
        ends = list(accumulate(self.config.category_sizes))
        return tuple(slice(a, b) for a, b in zip([0, *ends], ends, strict=False))

    def _code_shares(self) -> list[Tensor]:
        """``[K]`` per quantizer in the bank's order: how often rows in training have each code."""
        counts = self.quantizer.bank.ema_counts
        parts = torch.split(counts, list(self.quantizer.layout.codebook_sizes))
        return [part / part.sum() for part in parts]

    def _auxiliary_losses(self, x: Tensor, latents: Tensor, quantized: Tensor) -> dict[str, Tensor]:
        """Further weighted loss terms; the shared protocol has none."""
        del x, latents, quantized
        return {}

    def _check_features(self, x: Tensor) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise InputError(
                f"features: expected a floating point torch.Tensor, got {got}; convert with "
                "torch.as_tensor(..).float()"
            )
        if x.ndim != 2 or x.shape[1] != self.config.num_features:
            raise InputError(
                f"features: expected shape [B, {self.config.num_features}] "
                f"({self.config.num_categories} categories side by side), got "
                f"{list(x.shape)}; order the columns by category first"
            )

    def _codebook_options(self) -> CodebookOptions:
        """The quantizer's options, which are the same for both forms."""
        config = self.config
        return {
            "decay": config.decay,
            "commitment_weight": config.commitment_cost,
            "commitment_reduction": config.commitment_reduction,
            "use_ema": config.use_ema,
            "init": config.codebook_init,
            "seed": config.seed,
        }

    def _shared_decoder(self, in_width: int, *, zero_init: bool) -> SharedDecoder:
        """The decoder MLP from ``in_width`` quantized columns to all features."""
        config = self.config
        return SharedDecoder(
            in_width,
            config.decoder_hidden_dim,
            config.num_features,
            config.dropout,
            zero_init=zero_init,
        )

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode for the length of a call."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
