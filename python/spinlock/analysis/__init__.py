"""From features to a compression plan: profiles, strategies, ratios, dims; numpy only."""

from spinlock.analysis.allocation_record import (
    RATE_DISTORTION,
    BitAllocation,
    CategoryAllocation,
    RateDistortionOptions,
)
from spinlock.analysis.bit_allocation import allocate_bits
from spinlock.analysis.category_curves import CategoryCurves, measure_curves
from spinlock.analysis.dims import (
    CODEBOOK_SIZINGS,
    CodebookSizing,
    codes_for_features,
    codes_for_latent_dim,
    fill_latent_dims,
    fill_num_tokens,
    latent_dims,
)
from spinlock.analysis.plan import (
    HIERARCHIES,
    CategoryPlan,
    CompressionPlan,
    Hierarchy,
    LevelPlan,
    build_plan,
    plan_from_saved_ratios,
)
from spinlock.analysis.profile import (
    SCORE_NAMES,
    CategoryProfile,
    profile_category,
    profile_from_gram,
)
from spinlock.analysis.ratios import (
    AutoRatios,
    CompressionRatios,
    PerCategoryRatios,
    UniformRatios,
    parse_compression_ratios,
)
from spinlock.analysis.strategies import (
    DEFAULT_STRATEGY,
    STRATEGIES,
    Strategy,
    get_strategy,
    register_strategy,
    strategy_names,
)
from spinlock.analysis.strategy_choice import (
    PerFamilyStrategies,
    PerLevelStrategies,
    StrategyChoice,
    check_strategy,
    parse_strategy,
)

__all__ = [
    "CODEBOOK_SIZINGS",
    "DEFAULT_STRATEGY",
    "HIERARCHIES",
    "RATE_DISTORTION",
    "SCORE_NAMES",
    "STRATEGIES",
    "AutoRatios",
    "BitAllocation",
    "CategoryAllocation",
    "CategoryCurves",
    "CategoryPlan",
    "CategoryProfile",
    "CodebookSizing",
    "CompressionPlan",
    "CompressionRatios",
    "Hierarchy",
    "LevelPlan",
    "PerCategoryRatios",
    "PerFamilyStrategies",
    "PerLevelStrategies",
    "RateDistortionOptions",
    "Strategy",
    "StrategyChoice",
    "UniformRatios",
    "allocate_bits",
    "build_plan",
    "check_strategy",
    "codes_for_features",
    "codes_for_latent_dim",
    "fill_latent_dims",
    "fill_num_tokens",
    "get_strategy",
    "latent_dims",
    "measure_curves",
    "parse_compression_ratios",
    "parse_strategy",
    "plan_from_saved_ratios",
    "profile_category",
    "profile_from_gram",
    "register_strategy",
    "strategy_names",
]
