"""The compression plan as the published text, and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from rich.table import Table
from rich.text import Text

from spinlock.analysis.allocation_record import BitAllocation
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

    A latent dim that storage pads is written ``logical(padded)``.  Where bits were allocated, two
    more columns have the errors that this predicts and those of the Gaussian reference.
    """
    table = Table(title=Text(_title(plan)), caption=Text(_caption(plan)), show_footer=True)
    levels = [level for category in plan.categories for level in category.levels]
    columns: tuple[tuple[str, str, Literal["left", "right"]], ...] = (
        ("category", "total", "left"),
        ("features", str(sum(category.num_features for category in plan.categories)), "right"),
        ("ratios", "", "right"),
        ("latent dims", _dim_text(sum(_logical(levels)), sum(_padded(levels))), "right"),
        ("codebook sizes", str(plan.total_codes), "right"),
        ("bits", f"{plan.bits:.2f}", "right"),
    )
    expected = _expected(plan)
    if plan.allocation is not None:
        columns += (("predicted", f"{plan.allocation.mean_mse:.4f}", "right"),)
        columns += (("Gaussian", "", "right"),)
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
            *expected.get(category.name, ()),
        )
    return table


def allocation_text(allocation: BitAllocation) -> str:
    """How the bits were allocated, in two lines.

    >>> from spinlock.analysis import BitAllocation, CategoryAllocation
    >>> shape = CategoryAllocation("shape", 4, 0.5, (16, 4, 2), 0.2, 0.25)
    >>> print(allocation_text(
    ...     BitAllocation("measured", "bits", 7.5, 4.0, "measured", 128, 400, 900, (shape,))))
    bits: 7.00 of a budget of 7.50 (as asked for), spent to lower the sum of error^4
    curves measured on 400 of 900 training rows, codebooks of at most 128 codes
    """
    if allocation.rule == "target_mse":
        spent = f"bits: {allocation.bits:.2f}, for the mean error asked for"
    else:
        why = "as asked for" if allocation.rule == "bits" else "as uniform ratios would take"
        spent = f"bits: {allocation.bits:.2f} of a budget of {allocation.budget:.2f} ({why})"
    goal = "the mean error" if allocation.alpha == 1 else f"the sum of error^{allocation.alpha:g}"
    rows = f"{allocation.rows:,}"
    if allocation.rows < allocation.training_rows:
        rows += f" of {allocation.training_rows:,}"
    how = f"curves measured on {rows} training rows"
    if allocation.method == "gaussian":
        how = f"{rows} training rows are too few to measure: curves of Gaussians of their spectra"
    if allocation.level_split == "published":
        how += ", levels 4 : 2 : 1"
    limit = f"codebooks of at most {allocation.max_codes} codes"
    return f"{spent}, spent to lower {goal}\n{how}, {limit}"


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
    # The rule fills only what no allocation has decided.
    sizes = "allocation" if plan.allocation is not None else plan.codebook_sizing
    return f"compression plan: ratios {ratios}, codebook sizes by {sizes}"


def _caption(plan: CompressionPlan) -> str:
    caption = "latent dims per level: logical(padded) where storage pads; bits: sum of log2"
    if plan.allocation is None:
        return caption
    return f"{caption}; predicted: mean squared error per feature, z-units"


def _expected(plan: CompressionPlan) -> dict[str, tuple[str, str]]:
    """Predicted error and Gaussian reference by category, where bits were allocated."""
    if plan.allocation is None:
        return {}
    return {
        c.name: (f"{c.predicted_mse:.4f}", f"{c.gaussian_mse:.4f}")
        for c in plan.allocation.categories
    }


def _logical(levels: Iterable[LevelPlan]) -> Iterable[int]:
    return (level.latent_dim for level in levels)


def _padded(levels: Iterable[LevelPlan]) -> Iterable[int]:
    return (level.padded_dim for level in levels)


def _dim_text(logical: int, padded: int) -> str:
    return str(logical) if logical == padded else f"{logical}({padded})"


def _spaced(parts: Iterable[str]) -> str:
    return "  ".join(parts)
