"""Ragged vector quantization for PyTorch, and tokenizers with adaptive compression.

The public names are imported on first use, so that ``import spinlock`` and ``spinlock --help``
need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinlock.data import load_table as load_table
    from spinlock.layout import CodebookLayout as CodebookLayout
    from spinlock.modules import NestedResidualQuantizer as NestedResidualQuantizer
    from spinlock.modules import RaggedVectorQuantizer as RaggedVectorQuantizer
    from spinlock.training.checkpoint import load_model as load_model
    from spinlock.vqvae import CategoricalVQVAEConfig as CategoricalVQVAEConfig
    from spinlock.vqvae import build_vqvae as build_vqvae

__version__ = "0.1.0"

_HOMES = {
    "CategoricalVQVAEConfig": "spinlock.vqvae",
    "CodebookLayout": "spinlock.layout",
    "NestedResidualQuantizer": "spinlock.modules",
    "RaggedVectorQuantizer": "spinlock.modules",
    "build_vqvae": "spinlock.vqvae",
    "load_model": "spinlock.training.checkpoint",
    "load_table": "spinlock.data",
}

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'spinlock' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
