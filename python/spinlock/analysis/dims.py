"""Latent dims and codebook sizes from feature counts, ratios and an alignment: the only place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, get_args

from spinlock.analysis._names import check_choice, unknown
from spinlock.errors import ConfigError

CodebookSizing = Literal["latent_dims", "feature_count"]
CODEBOOK_SIZINGS: tuple[str, ...] = get_args(CodebookSizing)
Level = Mapping[str, int | None]

MIN_CODES = 2
_LEVEL_KEYS = ("latent_dim", "num_tokens")
_MAX_LATENT_DIM = 2**31 - 1
# Smallest codebook of the finer levels under the feature-count rule.
_MIN_FINE_CODES = 6


def level_positions(num_levels: int) -> tuple[float, ...]:
    """Where each level lies between the published L0 (0), L1 (1) and L2 (2), evenly spaced.

    A single level is the coarse one, L0, where even spacing starts.

    >>> level_positions(3), level_positions(5), level_positions(1)
    ((0.0, 1.0, 2.0), (0.0, 0.5, 1.0, 1.5, 2.0), (0.0,))
    """
    check_count("num_levels", num_levels)
    steps = max(num_levels - 1, 1)
    return tuple(2 * level / steps for level in range(num_levels))


def align_up(value: int, alignment: int) -> int:
    """The smallest multiple of ``alignment`` that is >= ``value``.

    >>> align_up(9, 4), align_up(8, 4)
    (12, 8)
    """
    return -(-value // alignment) * alignment


def latent_dims(
    num_features: int, ratios: Sequence[float], alignment: int = 4, limit: int | None = None
) -> tuple[int, ...]:
    """max(a, ceil(n * ratio / a) * a) per level, for alignment a; then at most ``limit``.

    Args:
        num_features: number n >= 1 of the category's features.
        ratios: latent dim / feature count per level, > 0.
        alignment: a power of two, in elements.
        limit: cap of the logical dims: n where latent coordinates are the category's own.

    Raises:
        ConfigError: a count, ratio or alignment out of range.

    >>> latent_dims(24, (0.31, 0.85, 1.91)), latent_dims(24, (0.31, 0.85, 1.91), limit=24)
    ((8, 24, 48), (8, 24, 24))
    >>> latent_dims(100, (0.28,))        # 100 * 0.28 is 28.000000000000004 in floats
    (28,)
    """
    check_count("num_features", num_features)
    check_alignment(alignment)
    dims = tuple(_latent_dim(num_features, ratio, alignment) for ratio in ratios)
    return dims if limit is None else tuple(min(dim, limit) for dim in dims)


def codes_for_latent_dim(latent_dim: int) -> int:
    """Codebook size of a level of D dims: int(7 log2 D), down to a multiple of 4, at least 2.

    >>> [codes_for_latent_dim(d) for d in (1, 2, 4, 8, 24, 48)]
    [2, 4, 12, 20, 32, 36]
    """
    check_count("latent_dim", latent_dim)
    return max(MIN_CODES, _base_codes(latent_dim) // 4 * 4)


def codes_for_features(
    num_features: int, num_levels: int, num_samples: int | None
) -> tuple[int, ...]:
    """Codebook sizes per level from the feature count n alone, the finer levels the smaller.

    base = int(7 log2 n).  L0 is base down to a multiple of 4, and with N > 1000 rows at least
    min(28, max(5, int(4.8 sqrt(N / 1000)))).  The other levels are max(6, int(base * f)), where f
    falls geometrically over the level position: 1/2 and 1/4 for three levels.  Never below 2.

    Args:
        num_features: number n >= 1 of the category's features.
        num_levels: number of levels >= 1.
        num_samples: number N of training rows.

    Raises:
        ConfigError: a count out of range, or ``num_samples`` missing.

    >>> codes_for_features(24, 3, 10_000), codes_for_features(5, 3, 10_000)
    ((32, 16, 8), (16, 8, 6))
    """
    check_count("num_features", num_features)
    if num_samples is None:
        raise ConfigError(
            "codebook_sizing 'feature_count' looks at the number of training rows: "
            "give num_samples, or use 'latent_dims'"
        )
    check_count("num_samples", num_samples)
    base = _base_codes(num_features)
    coarse = max(MIN_CODES, base // 4 * 4)
    if num_samples > 1000:
        coarse = max(coarse, min(28, max(5, int(4.8 * math.sqrt(num_samples / 1000)))))
    factors = [2.0**-position for position in level_positions(num_levels)]
    return coarse, *(max(_MIN_FINE_CODES, int(base * factor)) for factor in factors[1:])


def fill_latent_dims(
    levels: Sequence[Level],
    num_features: int,
    ratios: Sequence[float],
    *,
    alignment: int = 4,
    limit: int | None = None,
    where: str = "levels",
) -> list[dict[str, int]]:
    """Copies of ``levels`` with every missing ``latent_dim`` filled by :func:`latent_dims`.

    A given latent dim is kept as it is, but must not exceed ``limit``.

    Raises:
        ConfigError: unknown keys, values out of range, or not one ratio per level.

    >>> fill_latent_dims([{"latent_dim": 6}, {"num_tokens": 9}], 10, (0.5, 1.2))
    [{'latent_dim': 6}, {'num_tokens': 9, 'latent_dim': 12}]
    """
    filled = _given(levels, where)
    if len(filled) != len(ratios):
        raise ConfigError(f"{where} has {len(filled)} levels but {len(ratios)} ratios")
    defaults = latent_dims(num_features, ratios, alignment, limit)
    for index, (level, default) in enumerate(zip(filled, defaults, strict=True)):
        dim = level.setdefault("latent_dim", default)
        if limit is not None and dim > limit:
            raise ConfigError(
                f"{where}[{index}].latent_dim is {dim}, but a residual hierarchy keeps the "
                f"category's own coordinates, of which there are {limit}: give at most {limit}"
            )
    return filled


def fill_num_tokens(
    levels: Sequence[Level],
    *,
    codebook_sizing: str = "latent_dims",
    num_features: int | None = None,
    num_samples: int | None = None,
    where: str = "levels",
) -> list[dict[str, int]]:
    """Copies of ``levels`` with every missing ``num_tokens`` filled by the rule named.

    ``latent_dims`` reads each level's own ``latent_dim`` (:func:`codes_for_latent_dim`);
    ``feature_count`` reads ``num_features`` and ``num_samples`` (:func:`codes_for_features`).

    Raises:
        ConfigError: unknown keys or rule, values out of range, or what the rule reads is missing.

    >>> fill_num_tokens([{"latent_dim": 8}, {"latent_dim": 24, "num_tokens": 9}])
    [{'latent_dim': 8, 'num_tokens': 20}, {'latent_dim': 24, 'num_tokens': 9}]
    """
    check_choice("codebook_sizing", codebook_sizing, CODEBOOK_SIZINGS)
    filled = _given(levels, where)
    missing = [index for index, level in enumerate(filled) if "num_tokens" not in level]
    if not missing:
        return filled
    if codebook_sizing == "feature_count":
        if num_features is None:
            raise ConfigError("codebook_sizing 'feature_count' needs num_features")
        sizes = codes_for_features(num_features, len(filled), num_samples)
        for index in missing:
            filled[index]["num_tokens"] = sizes[index]
        return filled
    for index in missing:
        if "latent_dim" not in filled[index]:
            raise ConfigError(
                f"{where}[{index}] has neither num_tokens nor the latent_dim that "
                "codebook_sizing 'latent_dims' reads: fill the latent dims first"
            )
        filled[index]["num_tokens"] = codes_for_latent_dim(filled[index]["latent_dim"])
    return filled


def check_count(name: str, value: object, minimum: int = 1) -> int:
    """``value`` as an int; :class:`ConfigError` unless it is an integer >= ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ConfigError(f"{name} must be an integer >= {minimum}, got {value!r}")
    return int(value)


def check_alignment(alignment: object) -> int:
    """``alignment`` as an int; :class:`ConfigError` unless it is a power of two."""
    size = check_count("alignment", alignment)
    if size & (size - 1):
        raise ConfigError(f"alignment must be a power of two, in elements, got {size}")
    return size


def check_levels(levels: Any, where: str) -> None:
    """Raise :class:`ConfigError` unless ``levels`` is a list with at least one entry."""
    if not isinstance(levels, Sequence) or isinstance(levels, str) or not levels:
        raise ConfigError(f"{where} must be a list with one entry per level, got {levels!r}")


def _latent_dim(num_features: int, ratio: float, alignment: int) -> int:
    if not 0.0 < num_features * ratio <= _MAX_LATENT_DIM:
        raise ConfigError(
            f"compression ratio {ratio!r} of {num_features} features is no latent dim between 1 "
            f"and {_MAX_LATENT_DIM}: give a ratio of the order of 1"
        )
    # Nine digits: a product that is a multiple on paper stays one in floats.
    blocks = math.ceil(round(num_features * ratio / alignment, 9))
    return max(1, blocks) * alignment


def _base_codes(width: int) -> int:
    return int(7 * math.log2(width))


def _given(levels: Any, where: str) -> list[dict[str, int]]:
    check_levels(levels, where)
    return [_given_level(level, f"{where}[{index}]") for index, level in enumerate(levels)]


def _given_level(level: Any, where: str) -> dict[str, int]:
    if not isinstance(level, Mapping):
        raise ConfigError(f"{where} must map latent_dim and num_tokens to numbers, got {level!r}")
    for key in level:
        if key not in _LEVEL_KEYS:
            raise ConfigError(f"{where}: {unknown('key', key, _LEVEL_KEYS)}")
    minimum = {"latent_dim": 1, "num_tokens": MIN_CODES}
    return {
        key: check_count(f"{where}.{key}", value, minimum[key])
        for key, value in level.items()
        if value is not None
    }
