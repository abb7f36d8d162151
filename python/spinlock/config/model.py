"""The section ``model``: ratios, dimensions, and the form of the VQ-VAE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from spinlock.analysis.allocation_record import (
    RATE_DISTORTION,
    BitAllocation,
)
from spinlock.analysis.dims import CodebookSizing
from spinlock.analysis.plan import Hierarchy
from spinlock.analysis.ratios import AutoRatios, parse_compression_ratios
from spinlock.analysis.strategies import DEFAULT_STRATEGY
from spinlock.analysis.strategy_choice import (
    PerLevelStrategies,
    check_strategy,
    parse_strategy,
)
from spinlock.config.base import (
    Count,
    EmptyIsDefault,
    Expected,
    Issue,
    NonNegative,
    Positive,
    Section,
    raise_conflicts,
)
from spinlock.config.plain import plain
from spinlock.config.rate_distortion import RateDistortionConfig
from spinlock.errors import ConfigError

AUXILIARY_WEIGHTS = ("orthogonality_weight", "informativeness_weight", "topographic_weight")
SAVED_KEYS = (
    "compression_ratios_strategy",
    "compression_ratios_computed",
    "compression_ratios_metrics",
    "compression_ratios_allocation",
)
# Of these the last is there for one strategy only.
_ALWAYS_SAVED = SAVED_KEYS[:3]

Ratios = Annotated[
    Any, Expected('"auto", "0.5:1.0:1.5", [0.5, 1.0, 1.5] or {category: [0.5, 1.0, 1.5]}')
]

_STRATEGY_FORMS = "a name, {L0: name, L1: name, ...} or {family: name, ..., default: name}"
Strategy = Annotated[Any, Expected(_STRATEGY_FORMS)]
SavedStrategy = Annotated[Any, Expected(f"{_STRATEGY_FORMS}, or null")]


class LevelConfig(Section):
    """One level of one category; what is left out follows from ratios and ``codebook_sizing``."""

    latent_dim: Count | None = None
    num_tokens: Annotated[int, Field(ge=2)] | None = None


Levels = Annotated[list[Annotated[LevelConfig, EmptyIsDefault]], Field(min_length=1)]
LevelsByCategory = Annotated[
    dict[str, Levels] | None,
    Expected("a mapping {category: [{latent_dim, num_tokens}, ...]}, or null"),
]
RatiosByCategory = Annotated[
    dict[str, list[Positive]] | None, Expected("a mapping {category: [ratio, ...]}, or null")
]
ScoresByCategory = Annotated[
    dict[str, dict[str, float]] | None, Expected("a mapping {category: {score: number}}, or null")
]
AllocationByCategory = Annotated[
    dict[str, Any] | None, Expected("a mapping that a run has written, or null")
]


class ModelConfig(Section):
    """Compression and model.  The keys in ``SAVED_KEYS`` are written by a run."""

    compression_ratios: Ratios = "auto"
    auto_compression_strategy: Strategy = DEFAULT_STRATEGY
    rate_distortion: Annotated[RateDistortionConfig, EmptyIsDefault] = RateDistortionConfig()
    compression_ratios_strategy: SavedStrategy = None
    compression_ratios_computed: RatiosByCategory = None
    compression_ratios_metrics: ScoresByCategory = None
    compression_ratios_allocation: AllocationByCategory = None
    num_levels: Count | None = None
    levels: LevelsByCategory = None
    codebook_sizing: CodebookSizing = "latent_dims"
    hierarchy: Hierarchy = "residual"
    group_embedding_dim: Count = 32
    group_hidden_dim: Count = 64
    decoder_hidden_dim: Count = 128
    encoder_inputs: Literal["own", "all"] = "own"
    linear_decoder: Literal["own", "all"] = "own"
    commitment_cost: NonNegative = 1.0
    commitment_reduction: Literal["mean", "sum"] = "mean"
    use_ema: bool = True
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.95
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    codebook_init: Literal["kmeans", "uniform"] = "kmeans"
    orthogonality_weight: NonNegative = 0.0
    informativeness_weight: NonNegative = 0.0
    topographic_weight: NonNegative = 0.0

    @field_validator("compression_ratios", mode="after")
    @classmethod
    def _check_ratios(cls, value: Any) -> Any:
        """Keeps the form that was written; the parser in analysis only checks it."""
        written = plain(value)
        ratios = parse_compression_ratios(written, key="model.compression_ratios")
        return "auto" if isinstance(ratios, AutoRatios) else written

    @field_validator("auto_compression_strategy", "compression_ratios_strategy", mode="after")
    @classmethod
    def _check_strategy_form(cls, value: Any, info: ValidationInfo) -> Any:
        """Keeps the form that was written; names are looked up once all keys are known."""
        if value is None and info.field_name == "compression_ratios_strategy":
            return None
        written = plain(value)
        parse_strategy(written, key=f"model.{info.field_name}")
        return written

    @field_validator("compression_ratios_allocation", mode="after")
    @classmethod
    def _check_allocation(cls, value: Any) -> Any:
        if value is None:
            return None
        written = plain(value)
        BitAllocation.from_dict(written, "model.compression_ratios_allocation")
        return written

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        raise_conflicts(
            [
                *self._strategy_issues(),
                *self._auxiliary_issues(),
                *self._decoder_issues(),
                *self._level_issues(),
                *self._saved_issues(),
            ]
        )
        return self

    def _strategy_issues(self) -> list[Issue]:
        strategy = self.auto_compression_strategy
        if self.compression_ratios_computed is not None:
            # A saved run stays readable where its own strategy is not registered any more.
            if self.compression_ratios_strategy in (strategy, None):
                return []
            text = (
                f"got {strategy!r}, but the file carries ratios that "
                f"{self.compression_ratios_strategy!r} computed; measure anew with "
                "--recompute-ratios, or remove the keys model.compression_ratios_strategy, "
                "_computed, _metrics and _allocation"
            )
            return [Issue("auto_compression_strategy", text, SAVED_KEYS)]
        try:
            check_strategy(parse_strategy(strategy))
        except ConfigError as error:
            return [Issue("auto_compression_strategy", str(error))]
        return []

    def _auxiliary_issues(self) -> list[Issue]:
        if self.hierarchy != "residual":
            return []
        return [
            Issue(
                name,
                f"expected 0, got {getattr(self, name):g}: this loss belongs to hierarchy "
                "'independent' and model.hierarchy is 'residual'; remove it or change the "
                "hierarchy",
                ("hierarchy",),
            )
            for name in AUXILIARY_WEIGHTS
            if getattr(self, name) > 0
        ]

    def _decoder_issues(self) -> list[Issue]:
        if self.linear_decoder == "own" or self.hierarchy == "residual":
            return []
        text = (
            "expected own, got all: the decoder of hierarchy 'independent' has no linear path; "
            "remove it or set model.hierarchy to residual"
        )
        return [Issue("linear_decoder", text, ("hierarchy",))]

    def _level_issues(self) -> list[Issue]:
        """The number of levels is stated in up to four places, which must agree."""
        stated: dict[str, int] = {}
        ratios = parse_compression_ratios(self.compression_ratios)
        if not isinstance(ratios, AutoRatios):
            stated["compression_ratios"] = ratios.num_levels
        else:
            strategy = parse_strategy(self.auto_compression_strategy)
            if isinstance(strategy, PerLevelStrategies):
                stated["auto_compression_strategy"] = len(strategy.names)
        if self.num_levels is not None:
            stated["num_levels"] = self.num_levels
        lists: dict[str, Mapping[str, list[Any]]] = {
            "compression_ratios_computed": self.compression_ratios_computed or {},
            "levels": self.levels or {},
        }
        for key, by_category in lists.items():
            stated |= {f"{key}.{name}": len(values) for name, values in by_category.items()}
        if len(set(stated.values())) <= 1:
            return []
        (first, count), *others = stated.items()
        return [
            Issue(
                path,
                f"expected {_levels(count)} as in model.{first}, got {_levels(other)}: all "
                "categories have the same number of levels",
                (first.split(".")[0], path.split(".")[0]),
            )
            for path, other in others
            if other != count
        ]

    def _saved_issues(self) -> list[Issue]:
        given = [key for key in SAVED_KEYS if getattr(self, key) is not None]
        if not given:
            return []
        remedy = "these keys are written by a run; remove all of them to measure anew"
        if self.compression_ratios != "auto":
            text = f"expected only with compression_ratios 'auto'; {remedy}"
            return [Issue(key, text, ("compression_ratios",)) for key in given]
        allocated = self.compression_ratios_strategy == RATE_DISTORTION
        expected = SAVED_KEYS if allocated else _ALWAYS_SAVED
        missing = [key for key in expected if key not in given]
        if missing:
            return [Issue(key, f"missing beside {', '.join(given)}; {remedy}") for key in missing]
        computed, metrics = self.compression_ratios_computed, self.compression_ratios_metrics
        assert computed is not None
        assert metrics is not None
        issues = []
        if not computed or not all(computed.values()):
            text = f"expected at least one category, each with at least one ratio; {remedy}"
            issues.append(Issue("compression_ratios_computed", text))
        elif set(computed) != set(metrics):
            text = (
                f"expected the categories of compression_ratios_computed ({', '.join(computed)}), "
                f"got {', '.join(metrics) or 'none'}; {remedy}"
            )
            issues.append(Issue("compression_ratios_metrics", text, SAVED_KEYS))
        if self.compression_ratios_allocation is not None:
            issues += self._allocation_issues(computed, remedy)
        return issues

    def _allocation_issues(self, computed: Mapping[str, Any], remedy: str) -> list[Issue]:
        assert self.compression_ratios_allocation is not None
        key = "compression_ratios_allocation"
        if self.compression_ratios_strategy != RATE_DISTORTION:
            text = f"expected only with compression_ratios_strategy {RATE_DISTORTION!r}; {remedy}"
            return [Issue(key, text, SAVED_KEYS)]
        allocated = self.compression_ratios_allocation["categories"]
        if list(allocated) == list(computed):
            return []
        text = (
            f"expected the categories of compression_ratios_computed ({', '.join(computed)}), "
            f"got {', '.join(allocated)}; {remedy}"
        )
        return [Issue(key, text, SAVED_KEYS)]


def _levels(count: int) -> str:
    return "1 level" if count == 1 else f"{count} levels"
