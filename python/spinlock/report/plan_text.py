"""The compression plan as the published text, and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from rich.table import Table
from rich.text import Text

from spinlock.analysis.compression_plan import CategoryPlan, CompressionPlan, LevelPlan
from spinlock.analysis.profile import CategoryProfile
from spinlock.errors import ConfigError

_RULE = "=" * 70


def adaptive_compression_text(plan: CompressionPlan) -> str:
    """The published text: the scores and ratios of every category, between lines of 70 ``=``.

    No newline at the end, so that ``print`` ends the last line.

    Raises:
        ConfigError: a category without a profile, as in plans whose ratios were given.

    >>> from spinlock.analysis import AutoRatios, CategoryProfile, build_plan
    >>> profile = CategoryProfile("cluster_7", 31, 1.0, 0.751, 0.954, 0.663)
    >>> plan = build_plan(feature_counts={"cluster_7": 31}, profiles={"cluster_7": profile},
    ...     ratios=AutoRatios("balanced"))
    >>> print(adaptive_compression_text(plan))
    ======================================================================
    ADAPTIVE COMPRESSION RATIO COMPUTATION
    ======================================================================
    Analyzing 1 categories to compute optimal ratios...
    <BLANKLINE>
      cluster_7:
        Features: 31
        Variance:      1.000
        Dimensionality: 0.751
        Information:   0.954
        Correlation:   0.663
        → Ratios: [0.31, 0.85, 1.9] (L0=0.31, L1=0.85, L2=1.9)
    ======================================================================
    """
    head = [
        _RULE,
        "ADAPTIVE COMPRESSION RATIO COMPUTATION",
        _RULE,
        f"Analyzing {len(plan.categories)} categories to compute optimal ratios...",
        "",
    ]
    blocks = [_category_text(category) for category in plan.categories]
    return "\n".join([*head, "\n\n".join(blocks), _RULE])


def plan_table(plan: CompressionPlan) -> Table:
    """Per category: features, ratios, latent dims, codebook sizes, bits; totals below.

    A latent dim that storage pads is written ``logical(padded)``.
    """
    table = Table(
        title=Text(_title(plan)),
        caption="latent dims per level: logical(padded) where storage pads; bits: sum of log2",
        show_footer=True,
    )
    levels = [level for category in plan.categories for level in category.levels]
    columns: tuple[tuple[str, str, Literal["left", "right"]], ...] = (
        ("category", "total", "left"),
        ("features", str(sum(category.num_features for category in plan.categories)), "right"),
        ("ratios", "", "right"),
        ("latent dims", _dim_text(sum(_logical(levels)), sum(_padded(levels))), "right"),
        ("codebook sizes", str(plan.total_codes), "right"),
        ("bits", f"{plan.bits:.2f}", "right"),
    )
    for header, footer, justify in columns:
        table.add_column(header, footer, justify=justify, overflow="fold")
    for category in plan.categories:
        table.add_row(
            Text(category.name),
            str(category.num_features),
            _spaced(str(ratio) for ratio in category.ratios),
            _spaced(_dim_text(level.latent_dim, level.padded_dim) for level in category.levels),
            _spaced(str(level.num_tokens) for level in category.levels),
            f"{category.bits:.2f}",
        )
    return table


def _category_text(category: CategoryPlan) -> str:
    profile = _profile(category)
    levels = ", ".join(f"L{index}={ratio}" for index, ratio in enumerate(category.ratios))
    return "\n".join(
        (
            f"  {category.name}:",
            f"    Features: {category.num_features}",
            f"    Variance:      {profile.variance_score:.3f}",
            f"    Dimensionality: {profile.dimensionality_score:.3f}",
            f"    Information:   {profile.information_score:.3f}",
            f"    Correlation:   {profile.correlation_score:.3f}",
            f"    → Ratios: {list(category.ratios)} ({levels})",
        )
    )


def _profile(category: CategoryPlan) -> CategoryProfile:
    if category.profile is None:
        raise ConfigError(
            f"category {category.name!r} has no scores to print, for its ratios were given: "
            "print the plan's table instead"
        )
    return category.profile


def _title(plan: CompressionPlan) -> str:
    source = plan.source.replace("_", " ")
    ratios = f"{source} ({plan.strategy})" if plan.strategy else source
    return f"compression plan: ratios {ratios}, codebook sizes by {plan.codebook_sizing}"


def _logical(levels: Iterable[LevelPlan]) -> Iterable[int]:
    return (level.latent_dim for level in levels)


def _padded(levels: Iterable[LevelPlan]) -> Iterable[int]:
    return (level.padded_dim for level in levels)


def _dim_text(logical: int, padded: int) -> str:
    return str(logical) if logical == padded else f"{logical}({padded})"


def _spaced(parts: Iterable[str]) -> str:
    return "  ".join(parts)
