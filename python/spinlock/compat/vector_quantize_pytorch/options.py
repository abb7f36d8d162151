"""The original's options as spinlock's grouped ones."""

from spinlock.errors import ConfigError
from spinlock.modules.vq_options import Lookup, Regularizers, Update

__all__ = ["lookup_options", "regularizer_options", "require", "update_options"]


def require(holds: bool, name: str, expected: str, remedy: str) -> None:
    """Raises ConfigError unless ``holds``."""
    if not holds:
        raise ConfigError(f"{name}: expected {expected}; {remedy}")


def lookup_options(
    *,
    dim: int,
    use_cosine_sim: bool,
    rotation_trick: bool | None,
    straight_through: bool,
    route_gradients_to_input: bool,
    stochastic_sample_codes: bool,
    sample_codebook_temp: float,
) -> Lookup:
    """How codes are found; the rotation trick is on unless ``dim`` is 1."""
    rotation = dim > 1 if rotation_trick is None else rotation_trick
    require(
        not (straight_through and rotation),
        "straight_through",
        "one gradient estimator, got straight_through=True and the rotation trick",
        "pass rotation_trick=False",
    )
    return Lookup(
        similarity="cosine" if use_cosine_sim else "euclidean",
        estimator=(
            "none" if not route_gradients_to_input else "rotation" if rotation
            else "straight_through"
        ),
        temperature=max(sample_codebook_temp, 0.0) if stochastic_sample_codes else 0.0,
        soft_gradient=straight_through,
    )  # fmt: skip


def update_options(
    *,
    ema_update: bool | None,
    learnable_codebook: bool | None,
    use_cosine_sim: bool,
    decay: float,
    eps: float,
    kmeans_init: bool,
    threshold_ema_dead_code: float,
    sync_codebook: bool | None,
) -> Update:
    """How codes move; averages are on unless told otherwise."""
    ema = True if ema_update is None else ema_update
    learnable = bool(learnable_codebook)
    require(
        not (ema and learnable),
        "learnable_codebook",
        "codes that follow averages or gradients, got both",
        "pass ema_update=False as well",
    )
    require(
        not (use_cosine_sim and learnable),
        "learnable_codebook",
        "False with use_cosine_sim=True",
        "use moving averages",
    )
    return Update(
        ema=ema or not learnable,
        learnable=learnable,
        decay=decay,
        epsilon=eps,
        init="kmeans" if kmeans_init else "uniform",
        expire_below=threshold_ema_dead_code,
        synchronize=sync_codebook,
    )


def regularizer_options(
    *,
    commitment_weight: float,
    commitment_use_cross_entropy_loss: bool,
    orthogonal_reg_weight: float,
    orthogonal_reg_active_codes_only: bool,
    orthogonal_reg_max_codes: int | None,
    codebook_diversity_loss_weight: float,
    codebook_diversity_temperature: float,
) -> Regularizers:
    """The terms of the loss."""
    return Regularizers(
        commitment=max(commitment_weight, 0.0),
        cross_entropy=commitment_use_cross_entropy_loss,
        orthogonal=orthogonal_reg_weight,
        orthogonal_used_only=orthogonal_reg_active_codes_only,
        orthogonal_max_codes=orthogonal_reg_max_codes,
        diversity=codebook_diversity_loss_weight,
        diversity_temperature=codebook_diversity_temperature,
    )
