"""Quantizers as PyTorch modules: codebooks, EMA statistics, losses, usage counters."""

from spinlock.modules.codebook_bank import CodebookBank
from spinlock.modules.grouped_residual_vq import GroupedResidualVQ
from spinlock.modules.messages import one_message
from spinlock.modules.nested_residual import NestedResidualQuantizer
from spinlock.modules.outputs import (
    QuantizerLosses,
    QuantizerOutput,
    QuantizerUsage,
    UsageSummary,
)
from spinlock.modules.quantizer import Quantizer
from spinlock.modules.ragged import RaggedVectorQuantizer
from spinlock.modules.residual_vq import ResidualVQ
from spinlock.modules.vector_quantize import VectorQuantize
from spinlock.modules.vq_options import LevelDropout, Lookup, Regularizers, Shapes, Update

__all__ = [
    "CodebookBank",
    "GroupedResidualVQ",
    "LevelDropout",
    "Lookup",
    "NestedResidualQuantizer",
    "Quantizer",
    "QuantizerLosses",
    "QuantizerOutput",
    "QuantizerUsage",
    "RaggedVectorQuantizer",
    "Regularizers",
    "ResidualVQ",
    "Shapes",
    "Update",
    "UsageSummary",
    "VectorQuantize",
    "one_message",
]
