"""The compression plan: per category its profile, ratios, latent dims and codebook sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spinlock.analysis._names import check_choice, check_exact_keys
from spinlock.analysis.allocation_record import BitAllocation
from spinlock.analysis.dims import CODEBOOK_SIZINGS, check_alignment, check_count
from spinlock.analysis.profile import SCORE_NAMES, CategoryProfile
from spinlock.analysis.ratios import UniformRatios
from spinlock.errors import ConfigError

SOURCES = ("auto", "uniform", "per_category")


@dataclass(frozen=True)
class LevelPlan:
    """One codebook: its logical latent dim, the stride of a code in storage, its size."""

    latent_dim: int
    padded_dim: int
    num_tokens: int

    @property
    def bits(self) -> float:
        """log2 of the codebook size."""
        return math.log2(self.num_tokens)


@dataclass(frozen=True)
class CategoryPlan:
    """One category: its features, what they looked like, and a codebook per level.

    ``ratios`` are those asked for; alignment, the cap of a residual hierarchy and explicit levels
    decide the latent dims.  ``profile`` is None where the ratios were given and nothing measured.
    """

    name: str
    num_features: int
    profile: CategoryProfile | None
    ratios: tuple[float, ...]
    levels: tuple[LevelPlan, ...]

    @property
    def bits(self) -> float:
        """Bits that the category's tokens carry: the sum of log2 of its codebook sizes."""
        return sum(level.bits for level in self.levels)


@dataclass(frozen=True)
class CompressionPlan:
    """What data, ratios and alignment make of every category, in the one order kept everywhere.

    Attributes:
        source: form of the ratios: ``auto``, ``uniform`` or ``per_category``.
        strategy: the strategy behind ``auto``, or the text of several; else None.
        codebook_sizing: the rule that filled the codebook sizes.
        alignment: multiple to which latent dims are padded, in elements.
        categories: one entry per category.
        allocation: what ``rate_distortion`` decided and expects; None with other strategies.

    Raises:
        ConfigError: no categories, a name twice, different numbers of levels, or an allocation of
            other categories.

    >>> colour = CategoryPlan("colour", num_features=5, profile=None, ratios=(0.5, 1.0),
    ...     levels=(LevelPlan(4, 4, num_tokens=12), LevelPlan(5, 8, num_tokens=16)))
    >>> plan = CompressionPlan("uniform", None, "latent_dims", 4, (colour,))
    >>> plan.latent_dims, plan.codebook_sizes, plan.total_codes, round(plan.bits, 2)
    (((4, 5),), ((12, 16),), 28, 7.58)
    >>> CompressionPlan.from_dict(plan.to_dict()) == plan
    True
    """

    source: str
    strategy: str | None
    codebook_sizing: str
    alignment: int
    categories: tuple[CategoryPlan, ...]
    allocation: BitAllocation | None = None

    def __post_init__(self) -> None:
        if not self.categories:
            raise ConfigError("a compression plan needs at least one category")
        counts = {len(category.levels) for category in self.categories}
        if len(counts) > 1 or 0 in counts:
            raise ConfigError(
                "every category of a compression plan needs the same number of levels, at least "
                f"one, got {[len(category.levels) for category in self.categories]}"
            )
        if len(set(self.names)) != len(self.names):
            raise ConfigError(f"a compression plan holds a category twice: {list(self.names)}")
        if self.allocation is not None:
            allocated = tuple(category.name for category in self.allocation.categories)
            if allocated != self.names:
                raise ConfigError(
                    f"the allocation of a compression plan is for {', '.join(allocated)}, but its "
                    f"categories are {', '.join(self.names)}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The categories' names, in order."""
        return tuple(category.name for category in self.categories)

    @property
    def num_levels(self) -> int:
        """Number of levels, the same for all categories."""
        return len(self.categories[0].levels)

    @property
    def bits(self) -> float:
        """Bits per row: the sum of log2 of all codebook sizes."""
        return sum(category.bits for category in self.categories)

    @property
    def total_codes(self) -> int:
        """Number of codes in all codebooks together."""
        return sum(sum(sizes) for sizes in self.codebook_sizes)

    @property
    def ratios(self) -> tuple[tuple[float, ...], ...]:
        """Compression ratios per category and level."""
        return tuple(category.ratios for category in self.categories)

    @property
    def latent_dims(self) -> tuple[tuple[int, ...], ...]:
        """Logical latent dims per category and level."""
        return tuple(tuple(v.latent_dim for v in c.levels) for c in self.categories)

    @property
    def codebook_sizes(self) -> tuple[tuple[int, ...], ...]:
        """Codebook sizes per category and level."""
        return tuple(tuple(v.num_tokens for v in c.levels) for c in self.categories)

    def computed_ratios(self) -> dict[str, list[float]]:
        """Ratios by category in plain types: ``compression_ratios_computed`` of a saved config."""
        return {category.name: list(category.ratios) for category in self.categories}

    def metrics(self) -> dict[str, dict[str, float]]:
        """Scores by profiled category: ``compression_ratios_metrics`` of a saved config."""
        return {c.name: c.profile.scores() for c in self.categories if c.profile is not None}

    def to_dict(self) -> dict[str, Any]:
        """The plan in dicts, lists, strings and numbers, fit for YAML and JSON."""
        tree: dict[str, Any] = {
            "source": self.source,
            "strategy": self.strategy,
            "codebook_sizing": self.codebook_sizing,
            "alignment": self.alignment,
            "categories": [_category_to_dict(category) for category in self.categories],
        }
        if self.allocation is not None:
            tree["allocation"] = self.allocation.to_dict()
        return tree

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CompressionPlan:
        """The plan that :meth:`to_dict` wrote.

        Raises:
            ConfigError: keys missing or unknown, values out of range.
        """
        allocated = isinstance(data, Mapping) and "allocation" in data
        check_exact_keys("plan", data, (*_PLAN_KEYS, "allocation") if allocated else _PLAN_KEYS)
        check_choice("plan.source", data["source"], SOURCES)
        check_choice("plan.codebook_sizing", data["codebook_sizing"], CODEBOOK_SIZINGS)
        strategy = data["strategy"]
        if not (strategy is None or isinstance(strategy, str)):
            raise ConfigError(f"plan.strategy must be a name or null, got {strategy!r}")
        return cls(
            source=data["source"],
            strategy=strategy,
            codebook_sizing=data["codebook_sizing"],
            alignment=check_alignment(data["alignment"]),
            categories=tuple(
                _category_from_dict(row, f"plan.categories[{index}]")
                for index, row in enumerate(_rows(data["categories"], "plan.categories"))
            ),
            allocation=BitAllocation.from_dict(data["allocation"], "plan.allocation")
            if allocated
            else None,
        )


_PLAN_KEYS = ("source", "strategy", "codebook_sizing", "alignment", "categories")
_CATEGORY_KEYS = ("name", "num_features", "profile", "ratios", "levels")
_LEVEL_KEYS = ("latent_dim", "padded_dim", "num_tokens")


def _category_to_dict(category: CategoryPlan) -> dict[str, Any]:
    profile = category.profile
    return {
        "name": category.name,
        "num_features": category.num_features,
        "profile": None
        if profile is None
        else {**profile.scores(), "spectrum": list(profile.spectrum)},
        "ratios": list(category.ratios),
        "levels": [{key: getattr(level, key) for key in _LEVEL_KEYS} for level in category.levels],
    }


def _category_from_dict(data: Any, where: str) -> CategoryPlan:
    check_exact_keys(where, data, _CATEGORY_KEYS)
    name = data["name"]
    if not isinstance(name, str):
        raise ConfigError(f"{where}.name must be text, got {name!r}")
    num_features = check_count(f"{where}.num_features", data["num_features"])
    ratios = UniformRatios(_rows(data["ratios"], f"{where}.ratios")).ratios
    levels = _rows(data["levels"], f"{where}.levels")
    if len(levels) != len(ratios):
        raise ConfigError(f"{where} has {len(levels)} levels but {len(ratios)} ratios")
    return CategoryPlan(
        name=name,
        num_features=num_features,
        profile=_profile_from_dict(data["profile"], name, num_features, f"{where}.profile"),
        ratios=ratios,
        levels=tuple(
            _level_from_dict(level, f"{where}.levels[{index}]")
            for index, level in enumerate(levels)
        ),
    )


def _profile_from_dict(
    data: Any, name: str, num_features: int, where: str
) -> CategoryProfile | None:
    if data is None:
        return None
    check_exact_keys(where, data, (*SCORE_NAMES, "spectrum"))
    return CategoryProfile(
        name=name,
        num_features=num_features,
        **{key: data[key] for key in SCORE_NAMES},
        spectrum=_rows(data["spectrum"], f"{where}.spectrum"),
    )


def _level_from_dict(data: Any, where: str) -> LevelPlan:
    check_exact_keys(where, data, _LEVEL_KEYS)
    return LevelPlan(**{key: check_count(f"{where}.{key}", data[key]) for key in _LEVEL_KEYS})


def _rows(value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where} must be a list, got {value!r}")
    return tuple(value)
