"""The published function names, thin over :mod:`spinlock.analysis`.

Plain numbers, lists and dicts in and out.  The parameter ``group_embedding_dim`` keeps its
published name: it is the number of features of the category.

From features to levels:

>>> import numpy as np
>>> features = np.random.default_rng(0).normal(size=(500, 10))
>>> ratios = compute_adaptive_compression_ratios(features, strategy="balanced")
>>> ratios
[0.37, 0.99, 2.06]
>>> levels = fill_missing_latent_dims([{}, {}, {"latent_dim": 12}], 10, ratios)
>>> [(level["latent_dim"], level["num_tokens"]) for level in fill_missing_num_tokens(levels)]
[(4, 12), (12, 24), (12, 24)]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spinlock.analysis.dims import (
    Level,
    codes_for_features,
    codes_for_latent_dim,
    fill_latent_dims,
    fill_num_tokens,
    latent_dims,
)
from spinlock.analysis.profile import profile_category
from spinlock.analysis.ratios import AutoRatios, UniformRatios
from spinlock.analysis.ratios import parse_compression_ratios as parse
from spinlock.analysis.strategies import DEFAULT_STRATEGY, PUBLISHED_LEVELS, get_strategy
from spinlock.errors import ConfigError

__all__ = [
    "analyze_category_characteristics",
    "compute_adaptive_compression_ratios",
    "compute_default_latent_dims",
    "compute_default_num_tokens",
    "fill_missing_latent_dims",
    "fill_missing_num_tokens",
    "parse_compression_ratios",
]

_UNNAMED = "(unnamed)"


def analyze_category_characteristics(features: Any) -> dict[str, float]:
    """The four scores in [0, 1] of un-normalised features [N, n], N >= 2.

    See :class:`~spinlock.analysis.profile.CategoryProfile` for their formulas.

    Raises:
        DataError: features that cannot be scored; the message says why.

    >>> import numpy as np
    >>> scores = analyze_category_characteristics(np.array([[0.0, 2.0], [1.0, 2.5], [0.0, 2.0]]))
    >>> for name, score in scores.items():
    ...     print(f"{name} {score:.3f}")
    variance_score 0.139
    dimensionality_score 0.238
    information_score 1.000
    correlation_score 1.000
    """
    return profile_category(_UNNAMED, features).scores()


def compute_adaptive_compression_ratios(
    features: Any,
    strategy: str = DEFAULT_STRATEGY,
    *,
    category_name: str | None = None,
    num_levels: int = PUBLISHED_LEVELS,
) -> list[float]:
    """Compression ratios of un-normalised features [N, n], coarsest level first.

    Args:
        features: real numbers, N >= 2 rows.
        strategy: ``variance``, ``dimensionality``, ``information``, ``balanced`` or
            ``balanced_scale_free``.
        category_name: what messages call the features.
        num_levels: number of levels; other than 3, the ratios are interpolated.

    Raises:
        ConfigError: unknown strategy, or ``rate_distortion``, which sees all categories at once.
        DataError: features that cannot be scored.

    >>> import numpy as np
    >>> features = np.random.default_rng(0).normal(size=(500, 10))
    >>> compute_adaptive_compression_ratios(features, strategy="information")
    [0.6, 1.5, 2.5]
    """
    rule = get_strategy(strategy)
    profile = profile_category(category_name or _UNNAMED, features, scale_free=rule.scale_free)
    return list(rule(profile, num_levels))


def compute_default_latent_dims(
    num_features: int, compression_ratios: Any, alignment: int = 4
) -> list[int]:
    """Latent dim of each level: max(4, ceil(n * ratio / 4) * 4), or with another alignment.

    Args:
        num_features: number n of the category's features.
        compression_ratios: a list of ratios or ``"0.5:1.0:1.5"``.
        alignment: a power of two, in elements.

    Raises:
        ConfigError: values out of range.

    >>> compute_default_latent_dims(24, [0.31, 0.85, 1.91])
    [8, 24, 48]
    >>> compute_default_latent_dims(10, "0.5:1.0:1.5", alignment=8)
    [8, 16, 16]
    """
    return list(latent_dims(num_features, _one_list(compression_ratios), alignment))


def fill_missing_latent_dims(
    levels: Sequence[Level], num_features: int, compression_ratios: Any, alignment: int = 4
) -> list[dict[str, int]]:
    """Copies of ``levels`` whose missing ``latent_dim`` are those of the feature count and ratios.

    Raises:
        ConfigError: unknown keys, values out of range, or not one ratio per level.

    >>> fill_missing_latent_dims([{"num_tokens": 32}, {"latent_dim": 6}], 24, [0.5, 1.0])
    [{'num_tokens': 32, 'latent_dim': 12}, {'latent_dim': 6}]
    """
    ratios = _one_list(compression_ratios)
    return fill_latent_dims(levels, num_features, ratios, alignment=alignment)


def compute_default_num_tokens(
    num_levels: int | None = None,
    group_embedding_dim: int | None = None,
    n_samples: int | None = None,
    *,
    latent_dims: Sequence[int] | None = None,
) -> list[int]:
    """Codebook sizes of the levels of one category, by either rule.

    Args:
        num_levels: number of levels of the feature-count rule; 3 where omitted.
        group_embedding_dim: number n of features, for the feature-count rule.
        n_samples: number of training rows, for the feature-count rule.
        latent_dims: latent dim of each level, for the rule that reads these and nothing else.

    Raises:
        ConfigError: values out of range, or neither or both of n and the latent dims given.

    >>> compute_default_num_tokens(num_levels=3, group_embedding_dim=24, n_samples=10_000)
    [32, 16, 8]
    >>> compute_default_num_tokens(latent_dims=[8, 24, 48])
    [20, 32, 36]
    """
    if latent_dims is not None:
        if (num_levels, group_embedding_dim, n_samples) != (None, None, None):
            raise ConfigError(
                "latent_dims alone decide the codebook sizes: give them, or num_levels, "
                "group_embedding_dim and n_samples, not both"
            )
        return [codes_for_latent_dim(dim) for dim in latent_dims]
    if group_embedding_dim is None:
        raise ConfigError("give group_embedding_dim (number of features), or latent_dims")
    levels = PUBLISHED_LEVELS if num_levels is None else num_levels
    return list(codes_for_features(group_embedding_dim, levels, n_samples))


def fill_missing_num_tokens(
    levels: Sequence[Level],
    group_embedding_dim: int | None = None,
    n_samples: int | None = None,
) -> list[dict[str, int]]:
    """Copies of ``levels`` whose missing ``num_tokens`` are filled.

    From each level's own ``latent_dim``; or, where ``group_embedding_dim`` (the number of
    features) and ``n_samples`` are given, by the feature-count rule.

    Raises:
        ConfigError: unknown keys, values out of range, or a level without what the rule reads.

    >>> fill_missing_num_tokens([{"latent_dim": 8}, {"latent_dim": 24, "num_tokens": 50}])
    [{'latent_dim': 8, 'num_tokens': 20}, {'latent_dim': 24, 'num_tokens': 50}]
    >>> fill_missing_num_tokens([{}, {}, {}], group_embedding_dim=24, n_samples=10_000)
    [{'num_tokens': 32}, {'num_tokens': 16}, {'num_tokens': 8}]
    """
    if group_embedding_dim is None:
        return fill_num_tokens(levels, codebook_sizing="latent_dims")
    return fill_num_tokens(
        levels,
        codebook_sizing="feature_count",
        num_features=group_embedding_dim,
        num_samples=n_samples,
    )


def parse_compression_ratios(
    compression_ratios: Any, num_levels: int | None = None
) -> str | list[float] | dict[str, list[float]]:
    """Any form of ``compression_ratios`` in plain types: ``"auto"``, a list, or a dict of lists.

    Args:
        compression_ratios: ``"auto"``, ``"0.5:1.0:1.5"``, a list, or one per category.
        num_levels: the number of levels expected, if any.

    Raises:
        ConfigError: another form, ratios that are not finite and > 0, or other numbers of levels.

    >>> parse_compression_ratios("0.5:1.0:1.5", num_levels=3)
    [0.5, 1.0, 1.5]
    >>> parse_compression_ratios({"shape": (0.3, 1)})
    {'shape': [0.3, 1.0]}
    """
    parsed = parse(compression_ratios)
    if isinstance(parsed, AutoRatios):
        return "auto"
    if num_levels is not None and parsed.num_levels != num_levels:
        raise ConfigError(
            f"compression_ratios has {parsed.num_levels} levels, expected {num_levels}"
        )
    if isinstance(parsed, UniformRatios):
        return list(parsed.ratios)
    return {name: list(levels) for name, levels in parsed.ratios.items()}


def _one_list(compression_ratios: Any) -> Sequence[float]:
    parsed = parse(compression_ratios)
    if not isinstance(parsed, UniformRatios):
        raise ConfigError(
            "the ratios of one category are needed, as a list or '0.5:1.0:1.5'; got "
            f"{compression_ratios!r}: compute 'auto' with compute_adaptive_compression_ratios"
        )
    return parsed.ratios
