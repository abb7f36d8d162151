"""A strategy's plan on a split at the common bits, and the configuration that trains it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spinlock.analysis.allocation_record import RATE_DISTORTION
from spinlock.analysis.compression_plan import CompressionPlan
from spinlock.analysis.ratios import AutoRatios, UniformRatios, parse_compression_ratios
from spinlock.analysis.strategies import PUBLISHED_LEVELS, spread_over_levels
from spinlock.comparison.settings import OWN, UNIFORM, UNIFORM_RATIOS
from spinlock.config import make_config
from spinlock.config.model import SAVED_KEYS
from spinlock.errors import ConfigError

if TYPE_CHECKING:
    from spinlock.config import TrainConfig


def comparable(config: TrainConfig) -> TrainConfig:
    """The configuration without what strategies decide, if it can be compared at all.

    Raises:
        ConfigError: latent dims or codebook sizes are written in it, or no row is held out.
    """
    if config.model.levels is not None:
        raise ConfigError(
            "model.levels: written latent dims or codebook sizes leave a strategy nothing to "
            "decide; remove this key to compare strategies (--set model.levels=null)"
        )
    return changed(
        config,
        model=dict.fromkeys(SAVED_KEYS),
        logging={"tensorboard_dir": None},
    )


def strategy_config(config: TrainConfig, name: str, bits: float | None = None) -> TrainConfig:
    """The configuration with the ratios of a strategy: ``uniform`` or a registered one.

    ``uniform`` is the configuration's own list of ratios where it has one for all categories, else
    the published [0.5, 1.0, 1.5].  ``config`` is the configuration as it is.  ``rate_distortion``,
    which spends bits itself, is told ``bits``; None: as many as the published ratios have.

    >>> from spinlock.config import make_config
    >>> base = make_config({"dataset_path": "x.npz", "model": {"num_levels": 2}})
    >>> strategy_config(base, "uniform").model.compression_ratios
    [0.5, 1.5]
    >>> strategy_config(base, "variance").model.auto_compression_strategy
    'variance'
    >>> strategy_config(base, "rate_distortion", 90.0).model.rate_distortion.bits
    90.0
    """
    ratios = parse_compression_ratios(config.model.compression_ratios)
    given = PUBLISHED_LEVELS if isinstance(ratios, AutoRatios) else ratios.num_levels
    levels = config.model.num_levels or given
    if name == OWN:
        return config
    if name == UNIFORM:
        own = ratios.ratios if isinstance(ratios, UniformRatios) else None
        chosen = list(own or spread_over_levels(UNIFORM_RATIOS, levels))
        return changed(config, model={"compression_ratios": chosen, "num_levels": levels})
    model = {
        "compression_ratios": "auto",
        "auto_compression_strategy": name,
        "num_levels": levels,
    }
    if name == RATE_DISTORTION:
        options = config.model.rate_distortion.model_dump()
        model["rate_distortion"] = {**options, "bits": bits, "target_mse": None}
    return changed(config, model=model)


def planned_config(config: TrainConfig, plan: CompressionPlan) -> TrainConfig:
    """The configuration whose plan is ``plan``, every dimension written."""
    return changed(
        config,
        model={
            "compression_ratios": {c.name: list(c.ratios) for c in plan.categories},
            "num_levels": plan.num_levels,
            "levels": {
                category.name: [
                    {"latent_dim": level.latent_dim, "num_tokens": level.num_tokens}
                    for level in category.levels
                ]
                for category in plan.categories
            },
        },
    )


def changed(config: TrainConfig, **keys: Any) -> TrainConfig:
    """The configuration with keys set, those of sections as mappings; checked as a file is.

    Raises:
        ConfigError: what came out is no configuration.

    >>> from spinlock.config import make_config
    >>> changed(make_config({"dataset_path": "x"}), random_seed=3, model={"decay": 0.5}).model.decay
    0.5
    """
    tree = config.model_dump()
    for key, value in keys.items():
        tree[key] = {**tree[key], **value} if isinstance(value, Mapping) else value
    return make_config(tree)
