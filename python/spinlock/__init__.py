"""Ragged vector quantization for PyTorch, and tokenizers with adaptive compression.

The public names are imported on first use, so that ``import spinlock`` and ``spinlock --help``
need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinlock.data import load_table as load_table
    from spinlock.estimator import FeatureTokenizer as FeatureTokenizer
    from spinlock.layout import CodebookLayout as CodebookLayout
    from spinlock.modules import GroupedResidualVQ as GroupedResidualVQ
    from spinlock.modules import LevelDropout as LevelDropout
    from spinlock.modules import Lookup as Lookup
    from spinlock.modules import NestedResidualQuantizer as NestedResidualQuantizer
    from spinlock.modules import RaggedVectorQuantizer as RaggedVectorQuantizer
    from spinlock.modules import Regularizers as Regularizers
    from spinlock.modules import ResidualVQ as ResidualVQ
    from spinlock.modules import Shapes as Shapes
    from spinlock.modules import Update as Update
    from spinlock.modules import VectorQuantize as VectorQuantize
    from spinlock.modules import one_message as one_message
    from spinlock.tokens.codec import Codec as Codec
    from spinlock.tokens.encoding import decode_tokens as decode_tokens
    from spinlock.tokens.encoding import encode_dataset as encode_dataset
    from spinlock.tokens.files import open_tokens as open_tokens
    from spinlock.training.checkpoint import load_model as load_model
    from spinlock.training.checkpoint import save_model as save_model
    from spinlock.vqvae import CategoricalVQVAEConfig as CategoricalVQVAEConfig
    from spinlock.vqvae import build_vqvae as build_vqvae
    from spinlock.vqvae.contract import TokenContract as TokenContract

__version__ = "0.1.0"

_HOMES = {
    "CategoricalVQVAEConfig": "spinlock.vqvae",
    "Codec": "spinlock.tokens.codec",
    "CodebookLayout": "spinlock.layout",
    "FeatureTokenizer": "spinlock.estimator",
    "GroupedResidualVQ": "spinlock.modules",
    "LevelDropout": "spinlock.modules",
    "Lookup": "spinlock.modules",
    "NestedResidualQuantizer": "spinlock.modules",
    "RaggedVectorQuantizer": "spinlock.modules",
    "Regularizers": "spinlock.modules",
    "ResidualVQ": "spinlock.modules",
    "Shapes": "spinlock.modules",
    "TokenContract": "spinlock.vqvae.contract",
    "Update": "spinlock.modules",
    "VectorQuantize": "spinlock.modules",
    "build_vqvae": "spinlock.vqvae",
    "decode_tokens": "spinlock.tokens.encoding",
    "encode_dataset": "spinlock.tokens.encoding",
    "load_model": "spinlock.training.checkpoint",
    "load_table": "spinlock.data",
    "one_message": "spinlock.modules",
    "open_tokens": "spinlock.tokens.files",
    "save_model": "spinlock.training.checkpoint",
}

__all__ = sorted(["__version__", *_HOMES])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'spinlock' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
