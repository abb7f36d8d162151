"""Quantizers as PyTorch modules: codebooks, EMA statistics, losses, usage counters."""

from spinlock.modules.codebook_bank import CodebookBank
from spinlock.modules.nested_residual import NestedResidualQuantizer
from spinlock.modules.outputs import (
    QuantizerLosses,
    QuantizerOutput,
    QuantizerUsage,
    UsageSummary,
)
from spinlock.modules.quantizer import Quantizer
from spinlock.modules.ragged import RaggedVectorQuantizer

__all__ = [
    "CodebookBank",
    "NestedResidualQuantizer",
    "Quantizer",
    "QuantizerLosses",
    "QuantizerOutput",
    "QuantizerUsage",
    "RaggedVectorQuantizer",
    "UsageSummary",
]
