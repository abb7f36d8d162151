"""Products that a model's autocast must not round."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["full_precision"]


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """A block whose products keep the type of their factors, whatever the model around asks for.

    Args:
        tensor: on the device where the block computes.
    """
    device = tensor.device.type
    # torch 2.6 cannot trace the question; what compiled code runs on has autocast.
    supported = torch.compiler.is_compiling() or torch.amp.is_autocast_available(device)
    known = supported and device != "meta"
    return torch.autocast(device, enabled=False) if known else nullcontext()
