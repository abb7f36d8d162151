"""The names of vector-quantize-pytorch 1.32 on spinlock's quantizers.

Replace ``from vector_quantize_pytorch import ..`` by
``from spinlock.compat.vector_quantize_pytorch import ..``: constructors, calls, results and
checkpoints stay as they are, and numbers are the same.  What differs, on purpose, is listed in
docs/quantizer.md.

>>> import torch
>>> from spinlock.compat.vector_quantize_pytorch import VectorQuantize
>>> vq = VectorQuantize(dim=256, codebook_size=512, decay=0.8, commitment_weight=1.0)
>>> quantized, indices, commit_loss = vq(torch.randn(1, 1024, 256))
>>> quantized.shape, indices.shape
(torch.Size([1, 1024, 256]), torch.Size([1, 1024]))
"""

from typing import NoReturn

from spinlock.compat.vector_quantize_pytorch.grouped_residual_vq import GroupedResidualVQ
from spinlock.compat.vector_quantize_pytorch.losses import LossBreakdown
from spinlock.compat.vector_quantize_pytorch.residual_vq import ResidualVQ
from spinlock.compat.vector_quantize_pytorch.vector_quantize import VectorQuantize

__all__ = ["GroupedResidualVQ", "LossBreakdown", "ResidualVQ", "VectorQuantize"]

_ELSEWHERE = {
    *("FSQ", "ResidualFSQ", "GroupedResidualFSQ", "LFQ", "ResidualLFQ", "GroupedResidualLFQ"),
    *("SimVQ", "ResidualSimVQ", "LatentQuantize", "RandomProjectionQuantizer", "BinaryMapper"),
    *("HierarchicalVQ", "EvoLookupFreeQuantization", "FSP", "Sequential"),
}


def __getattr__(name: str) -> NoReturn:
    if name in _ELSEWHERE:
        raise ImportError(
            f"{name}: expected VectorQuantize, ResidualVQ or GroupedResidualVQ, the codebooks that "
            "spinlock replaces; keep importing this one from vector_quantize_pytorch"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
