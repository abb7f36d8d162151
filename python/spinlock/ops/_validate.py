"""The one place where the tensors and options that users pass to ``spinlock.ops`` are checked."""

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout

__all__ = [
    "check_indices",
    "check_latents",
    "check_same_device",
    "check_same_rows",
    "check_tensor",
    "check_weight",
]


def check_tensor(name: str, tensor: Tensor) -> None:
    """A tensor, whatever it holds."""
    if not isinstance(tensor, Tensor):
        raise InputError(
            f"{name}: expected a torch.Tensor, got {type(tensor).__name__}; "
            "convert with torch.as_tensor"
        )


def check_latents(latents: Tensor, layout: CodebookLayout) -> None:
    """Floating point [B, input_width] on a device that has float64."""
    _check_floating("latents", latents)
    expected = f"[B, {layout.input_width}] (the dims {_few(layout.dims)} side by side)"
    _check_shape("latents", latents, 2, layout.input_width, expected)


def check_weight(weight: Tensor, layout: CodebookLayout) -> None:
    """Floating point [weight_size] on a device that has float64."""
    _check_floating("weight", weight)
    expected = f"[{layout.weight_size}] (layout.weight_size, as pack_codebooks returns it)"
    _check_shape("weight", weight, 1, layout.weight_size, expected)


def check_indices(indices: Tensor, layout: CodebookLayout) -> None:
    """Integers [B, Q], each in 0..K_q - 1."""
    check_tensor("indices", indices)
    if indices.dtype not in (torch.int64, torch.int32):
        raise InputError(
            f"indices: expected int64 (or int32), got {indices.dtype}; convert with .long()"
        )
    count = layout.num_quantizers
    _check_shape("indices", indices, 2, count, f"[B, {count}] (one index per quantizer)")
    if not len(indices):
        return
    low, high = (bound.tolist() for bound in torch.aminmax(indices, dim=0))
    for q, size in enumerate(layout.codebook_sizes):
        if low[q] < 0 or high[q] >= size:
            raise InputError(
                f"indices[:, {q}]: expected values in 0..{size - 1} (quantizer {q} has {size} "
                f"codes), got {low[q]}..{high[q]}; were they made with another layout?"
            )


def check_same_device(**tensors: Tensor) -> None:
    """All on one device."""
    devices = {name: tensor.device for name, tensor in tensors.items()}
    if len(set(devices.values())) > 1:
        listed = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise InputError(f"expected all tensors on one device, got {listed}; move them with .to()")


def check_same_rows(**tensors: Tensor) -> None:
    """All with one number of rows."""
    rows = {name: len(tensor) for name, tensor in tensors.items()}
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"{count} in {name}" for name, count in rows.items())
        raise InputError(f"expected as many rows in each tensor, got {listed}; pass one batch")


def _check_floating(name: str, tensor: Tensor) -> None:
    check_tensor(name, tensor)
    if not tensor.is_floating_point():
        raise InputError(
            f"{name}: expected floating point, got {tensor.dtype}; convert with .float()"
        )
    if tensor.device.type == "mps":
        raise InputError(
            f"{name}: expected a device with float64, got {tensor.device}; move to the cpu"
        )


def _check_shape(name: str, tensor: Tensor, ndim: int, last: int, expected: str) -> None:
    if tensor.ndim != ndim or tensor.shape[-1] != last:
        raise InputError(
            f"{name}: expected shape {expected}, got {list(tensor.shape)}; "
            "pass tensors made for this layout"
        )


def _few(values: tuple[int, ...], shown: int = 6) -> str:
    listed = ", ".join(str(value) for value in values[:shown])
    return f"{listed}, .. ({len(values)} quantizers)" if len(values) > shown else listed
