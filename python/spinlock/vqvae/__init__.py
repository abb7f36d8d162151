"""Categorical hierarchical VQ-VAEs: tokens per category and level, two forms, one protocol."""

from spinlock.ops.ragged_linear import plain_products
from spinlock.vqvae.categorical_vqvae import CategoricalHierarchicalVQVAE
from spinlock.vqvae.config import CategoricalVQVAEConfig
from spinlock.vqvae.independent import IndependentVQVAE
from spinlock.vqvae.outputs import VQVAEOutput
from spinlock.vqvae.residual import ResidualVQVAE

__all__ = [
    "CategoricalHierarchicalVQVAE",
    "CategoricalVQVAEConfig",
    "IndependentVQVAE",
    "ResidualVQVAE",
    "VQVAEOutput",
    "build_vqvae",
    "plain_products",
]


def build_vqvae(config: CategoricalVQVAEConfig) -> CategoricalHierarchicalVQVAE:
    """The model that ``config.hierarchy`` names, with freshly initialised weights."""
    if config.hierarchy == "residual":
        return ResidualVQVAE(config)
    return IndependentVQVAE(config)
