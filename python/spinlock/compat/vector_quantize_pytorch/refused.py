"""Options of the original that spinlock does not have, and what to use instead."""

from typing import Any

from spinlock.errors import ConfigError

__all__ = ["refuse_options"]

_CONTROL = "kmeans_init=True and threshold_ema_dead_code=2 keep codes where the latents are"
_LEARNABLE = "learnable_codebook=True, ema_update=False with an optimizer over .parameters()"

# name -> (the value that leaves it off, what to use instead)
_REFUSED: dict[str, tuple[Any, str]] = {
    "affine_param": (False, _CONTROL),
    "sync_affine_param": (False, _CONTROL),
    "directional_reparam": (False, "rotation_trick=True, the default, also tells directions apart"),
    "diveq": (False, "rotation_trick=True, the default, also tells directions apart"),
    "implicit_neural_codebook": (False, "more num_quantizers, or beam_size at the same bits"),
    "in_place_codebook_optimizer": (None, _LEARNABLE),
    "manual_in_place_optimizer_update": (False, _LEARNABLE),
    "vq_bridge": (None, f"{_LEARNABLE}; {_CONTROL}"),
    "codebook_transform_fn": (None, "more num_quantizers, or beam_size at the same bits"),
}


def refuse_options(**given: Any) -> None:
    """Raises ConfigError for the first option that is set and not supported.

    >>> refuse_options(affine_param=False)
    >>> refuse_options(diveq=True)
    Traceback (most recent call last):
    ...
    spinlock.errors.ConfigError: diveq: expected False, ...
    """
    for name, value in given.items():
        off, instead = _REFUSED[name]
        if value is not off and value != off:
            raise ConfigError(
                f"{name}: expected {off}, got {value!r}, which spinlock does not have; {instead}"
            )
