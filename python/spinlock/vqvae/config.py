"""What a categorical hierarchical VQ-VAE is built from: every dimension resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spinlock.analysis.plan import CompressionPlan, Hierarchy, build_plan
from spinlock.analysis.ratios import AutoRatios, parse_compression_ratios
from spinlock.errors import ConfigError
from spinlock.modules._options import (
    CodebookInit,
    Reduction,
    check_choice,
    check_decay,
    check_weighting,
)

View = Literal["own", "all"]
Ratios = str | Sequence[float] | Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class CategoricalVQVAEConfig:
    """Dimensions and options of a :class:`~spinlock.vqvae.CategoricalHierarchicalVQVAE`.

    The model's input columns are grouped by category: the ``category_sizes[c]`` columns of
    category c follow those of category c - 1.  Latent dims and codebook sizes are given per
    category and level, or filled in here from ``compression_ratios``.

    Args:
        category_names: one name per category, in the order kept everywhere.
        category_sizes: features per category.
        compression_ratios: ``"0.5:1.0:1.5"``, ``[0.5, 1.0, 1.5]`` or ``{category: [...]}``;
            latent dim / feature count per level.  ``"auto"`` has to be resolved before.
        latent_dims: logical latent dim per category and level.
        codebook_sizes: number of codes per category and level.
        codebook_sizing: rule that fills ``codebook_sizes`` (``latent_dims``, ``feature_count``).
        num_samples: training rows, which the ``feature_count`` rule looks at.
        hierarchy: ``residual`` (level l + 1 quantizes what level l missed) or ``independent``
            (every level has a head of its own).
        group_embedding_dim: width of the embedding layer of each category's encoder MLP.
        group_hidden_dim: width of the hidden layer of each category's encoder MLP.
        decoder_hidden_dim: width of the hidden layer of the shared decoder MLP.
        encoder_inputs: what a category's encoder MLP sees: its ``own`` features, or ``all``.
        linear_decoder: whose codes the linear path of a category's decoder sees: its ``own``, or
            ``all`` (residual only; in the independent form the decoder is the MLP alone).
        commitment_cost: weight of the commitment loss.
        commitment_reduction: ``mean`` or ``sum`` over the quantizers.
        use_ema: EMA codebooks; otherwise learnable ones, trained by the codebook loss.
        decay: EMA decay.
        dropout: dropout probability in encoders and decoder.
        codebook_init: ``kmeans`` (k-means++ on latents) or ``uniform`` in +-1/K.
        orthogonality_weight: weight of the cross-category orthogonality loss (independent only).
        informativeness_weight: weight of the partial decoders' loss (independent only).
        topographic_weight: weight of the topographic loss (independent only).
        seed: of the codebooks' first draws; encoders and decoders draw from torch's generator.

    Raises:
        ConfigError: sizes that disagree, an unresolved ``"auto"``, options out of range.

    >>> config = CategoricalVQVAEConfig(
    ...     category_names=("shape", "colour"), category_sizes=(10, 3),
    ...     compression_ratios="0.5:1.0:1.5")
    >>> config.latent_dims                  # aligned to 4, capped at the category's features
    ((8, 10, 10), (3, 3, 3))
    >>> config.compression_ratios
    {'shape': (0.5, 1.0, 1.5), 'colour': (0.5, 1.0, 1.5)}
    """

    category_names: tuple[str, ...]
    category_sizes: tuple[int, ...]
    compression_ratios: Ratios | None = None
    latent_dims: tuple[tuple[int, ...], ...] = ()
    codebook_sizes: tuple[tuple[int, ...], ...] = ()
    codebook_sizing: Literal["latent_dims", "feature_count"] = "latent_dims"
    num_samples: int | None = None
    hierarchy: Hierarchy = "residual"
    group_embedding_dim: int = 32
    group_hidden_dim: int = 64
    decoder_hidden_dim: int = 128
    encoder_inputs: View = "own"
    linear_decoder: View = "own"
    commitment_cost: float = 1.0
    commitment_reduction: Reduction = "mean"
    use_ema: bool = True
    decay: float = 0.95
    dropout: float = 0.0
    codebook_init: CodebookInit = "kmeans"
    orthogonality_weight: float = 0.0
    informativeness_weight: float = 0.0
    topographic_weight: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_options()
        if self.compression_ratios is not None:
            self._resolve_ratios(self.compression_ratios)
        elif not (self.latent_dims and self.codebook_sizes):
            raise ConfigError(
                "CategoricalVQVAEConfig needs compression_ratios, or both latent_dims and "
                "codebook_sizes; neither was given"
            )
        self._check_levels()

    @classmethod
    def from_plan(cls, plan: CompressionPlan, **options: Any) -> CategoricalVQVAEConfig:
        """The configuration that a compression plan stands for; ``options`` are further fields."""
        return cls(
            category_names=tuple(c.name for c in plan.categories),
            category_sizes=tuple(c.num_features for c in plan.categories),
            compression_ratios={c.name: c.ratios for c in plan.categories},
            latent_dims=plan.latent_dims,
            codebook_sizes=plan.codebook_sizes,
            **options,
        )

    @property
    def num_categories(self) -> int:
        """Number of categories C."""
        return len(self.category_names)

    @property
    def num_levels(self) -> int:
        """Number of levels L, the same for all categories."""
        return len(self.latent_dims[0])

    @property
    def num_features(self) -> int:
        """Width N of the model's input."""
        return sum(self.category_sizes)

    def _resolve_ratios(self, value: Ratios) -> None:
        ratios = parse_compression_ratios(value)
        if isinstance(ratios, AutoRatios):
            raise ConfigError(
                "compression_ratios is 'auto', which needs the data: resolve it with "
                "spinlock.training.pipeline.precompute_compression_ratios and pass the ratios "
                "it computed"
            )
        given = [[{"latent_dim": dim} for dim in dims] for dims in self.latent_dims]
        plan = build_plan(
            feature_counts=dict(zip(self.category_names, self.category_sizes, strict=True)),
            ratios=ratios,
            codebook_sizing=self.codebook_sizing,
            hierarchy=self.hierarchy,
            num_samples=self.num_samples,
            level_overrides=dict(zip(self.category_names, given, strict=False)),
        )
        object.__setattr__(self, "compression_ratios", {c.name: c.ratios for c in plan.categories})
        if not self.latent_dims:
            object.__setattr__(self, "latent_dims", plan.latent_dims)
        if not self.codebook_sizes:
            object.__setattr__(self, "codebook_sizes", plan.codebook_sizes)

    def _check_options(self) -> None:
        if len(self.category_names) != len(self.category_sizes) or not self.category_names:
            raise ConfigError(
                f"category_names has {len(self.category_names)} entries and category_sizes "
                f"{len(self.category_sizes)}: give one size per category, at least one category"
            )
        if len(set(self.category_names)) != len(self.category_names):
            raise ConfigError(f"category_names holds a name twice: {list(self.category_names)}")
        if min(self.category_sizes) < 1:
            raise ConfigError(f"category_sizes must be >= 1, got {list(self.category_sizes)}")
        check_choice("hierarchy", self.hierarchy, Hierarchy)
        check_choice("encoder_inputs", self.encoder_inputs, View)
        check_choice("linear_decoder", self.linear_decoder, View)
        check_choice("commitment_reduction", self.commitment_reduction, Reduction)
        check_choice("codebook_init", self.codebook_init, CodebookInit)
        check_decay(self.decay)
        for name in ("group_embedding_dim", "group_hidden_dim", "decoder_hidden_dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout must be in [0, 1), got {self.dropout}")
        auxiliary = ("orthogonality_weight", "informativeness_weight", "topographic_weight")
        for name in ("commitment_cost", *auxiliary):
            check_weighting(name, getattr(self, name))
        given = [name for name in auxiliary if getattr(self, name) > 0.0]
        if given and self.hierarchy == "residual":
            raise ConfigError(
                f"{', '.join(given)} belongs to hierarchy 'independent' and has no meaning for "
                "'residual': set it to 0 or change the hierarchy"
            )
        if self.linear_decoder == "all" and self.hierarchy == "independent":
            raise ConfigError(
                "linear_decoder 'all' belongs to hierarchy 'residual': the decoder of "
                "'independent' has no linear path; leave it at 'own' or change the hierarchy"
            )

    def _check_levels(self) -> None:
        count = len(self.category_names)
        for name in ("latent_dims", "codebook_sizes"):
            rows = getattr(self, name)
            if len(rows) != count:
                raise ConfigError(f"{name} needs one row per category ({count}), got {len(rows)}")
            if {len(row) for row in rows} != {len(self.latent_dims[0])} or not rows[0]:
                raise ConfigError(
                    f"{name} must hold the same number of levels, at least one, for every "
                    f"category, got {[len(row) for row in rows]}"
                )
            if not all(isinstance(value, int) and value >= 1 for row in rows for value in row):
                raise ConfigError(f"{name} must be integers >= 1 everywhere, got {rows}")
        if self.hierarchy == "residual":
            for name, size, dims in zip(
                self.category_names, self.category_sizes, self.latent_dims, strict=True
            ):
                if max(dims) > size:
                    raise ConfigError(
                        f"latent_dims of category {name!r}: expected at most {size}, the number of "
                        f"its coordinates, in a residual hierarchy, got {dims}; lower them"
                    )
