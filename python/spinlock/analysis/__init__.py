"""From features to a compression plan: profiles, strategies, ratios, dims; numpy only."""

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
)

__all__ = [
    "CODEBOOK_SIZINGS",
    "DEFAULT_STRATEGY",
    "HIERARCHIES",
    "SCORE_NAMES",
    "STRATEGIES",
    "AutoRatios",
    "CategoryPlan",
    "CategoryProfile",
    "CodebookSizing",
    "CompressionPlan",
    "CompressionRatios",
    "Hierarchy",
    "LevelPlan",
    "PerCategoryRatios",
    "Strategy",
    "UniformRatios",
    "build_plan",
    "codes_for_features",
    "codes_for_latent_dim",
    "fill_latent_dims",
    "fill_num_tokens",
    "get_strategy",
    "latent_dims",
    "parse_compression_ratios",
    "plan_from_saved_ratios",
    "profile_category",
    "profile_from_gram",
    "register_strategy",
]
