"""Whether somebody watches a call: then it has to go through the registered operators."""

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

__all__ = ["is_traced", "is_transformed", "is_watched"]

_PLAIN = (Tensor, Parameter)


def is_traced(*tensors: Tensor) -> bool:
    """Whether a compiler, exporter, mode, transform or tensor subclass must see this call.

    Calls that nobody watches go to their kernels directly, for the dispatcher would cost more than
    a small lookup.
    """
    if (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or is_transformed()
        or torch._C._get_tracing_state() is not None
    ):
        return True
    for tensor in tensors:  # noqa: SIM110 - any() costs as much as all of the above
        if is_watched(tensor):
            return True
    return False


def is_watched(tensor: Tensor) -> bool:
    """Whether a tensor is of a subclass that must see what is done to it, or has no values."""
    return type(tensor) not in _PLAIN or tensor.is_meta


def is_transformed() -> bool:
    """Whether a ``torch.func`` transform or forward-mode differentiation is active."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
