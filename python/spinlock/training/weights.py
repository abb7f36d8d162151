"""Do weights from a file and the model that its neighbours describe belong together?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from spinlock.errors import CheckpointError
from spinlock.vqvae import CategoricalHierarchicalVQVAE, CategoricalVQVAEConfig


def check_size(folder: Path, config: CategoricalVQVAEConfig, state: Mapping[str, Tensor]) -> None:
    """Refuses a description of more numbers than the weights are, before any of it is allocated.

    Args:
        folder: the checkpoint.
        config: the model that its configuration and plan describe.
        state: its weights.

    Raises:
        CheckpointError: the model cannot be that of the weights.
    """
    described, held = least_numbers(config), sum(tensor.numel() for tensor in state.values())
    if described > held:
        raise CheckpointError(
            f"the configuration and plan in '{folder}' describe a model of at least {described:,} "
            f"numbers, but its weights are {held:,}: its files do not belong together; use another "
            "checkpoint"
        )


def load_weights(
    folder: Path, model: CategoricalHierarchicalVQVAE, state: Mapping[str, Tensor]
) -> None:
    """Puts weights into a model, all of them or none.

    Raises:
        CheckpointError: tensors are missing, or of another name, shape or type.
    """
    expected = model.state_dict()
    # Checkpoints written before shapes were kept lack them; their plan says the same.
    late = {name for name in expected if name.endswith(".codebook_shapes")} - state.keys()
    for name in sorted((expected.keys() | state.keys()) - late):
        problem = _difference(expected.get(name), state.get(name))
        if problem is not None:
            raise CheckpointError(
                f"the weights in '{folder}' are those of another model: {name!r:.200} {problem}; "
                "use another checkpoint"
            )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights in '{folder}' are those of another model: {error}; use another checkpoint"
        ) from error


def _difference(expected: Tensor | None, found: Tensor | None) -> str | None:
    if expected is None:
        return "is not a part of it"
    if found is None:
        return "is missing"
    if expected.shape != found.shape:
        return f"has shape {list(found.shape)}, expected {list(expected.shape)}"
    if expected.dtype != found.dtype:
        return f"has type {found.dtype}, expected {expected.dtype}"
    return None


def least_numbers(config: CategoricalVQVAEConfig) -> int:
    """A lower bound, without padding and biases, of the numbers that a model's state holds.

    >>> least_numbers(CategoricalVQVAEConfig(("a",), (6,), [0.5], group_hidden_dim=2,
    ...     group_embedding_dim=3, decoder_hidden_dim=5))      # latent dim 4, 12 codes
    128
    """
    pairs = zip(config.codebook_sizes, config.latent_dims, strict=True)
    codes = sum(k * d for sizes, dims in pairs for k, d in zip(sizes, dims, strict=True))
    independent = config.hierarchy == "independent"
    width = sum(sum(dims) if independent else max(dims) for dims in config.latent_dims)
    encoder = config.num_features * config.group_hidden_dim
    encoder += config.num_categories * config.group_hidden_dim * config.group_embedding_dim
    encoder += config.group_embedding_dim * width
    return codes + encoder + (width + config.num_features) * config.decoder_hidden_dim
