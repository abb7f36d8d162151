"""The one place where the tensors and options that users pass to ``spinlock.ops`` are checked."""

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout

__all__ = [
    "check_apart",
    "check_indices",
    "check_latents",
    "check_latents_and_weight",
    "check_out",
    "check_same_device",
    "check_same_rows",
    "check_tensor",
    "check_weight",
]

_USUAL = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


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
    if latents.ndim != 2 or latents.shape[1] != layout.input_width:
        expected = f"[B, {layout.input_width}] (the dims {_few(layout.dims)} side by side)"
        raise _wrong_shape("latents", latents, expected)


def check_weight(weight: Tensor, layout: CodebookLayout) -> None:
    """Floating point [weight_size] on a device that has float64."""
    _check_floating("weight", weight)
    if weight.ndim != 1 or weight.shape[0] != layout.weight_size:
        expected = f"[{layout.weight_size}] (layout.weight_size, as pack_codebooks returns it)"
        raise _wrong_shape("weight", weight, expected)


def check_latents_and_weight(latents: Tensor, weight: Tensor, layout: CodebookLayout) -> None:
    """Both as above, on one device."""
    # What nearly every call passes is seen here at a glance; anything else is told apart below.
    if (
        isinstance(latents, Tensor)
        and isinstance(weight, Tensor)
        and latents.dtype in _USUAL
        and weight.dtype in _USUAL
        and latents.is_cpu
        and weight.is_cpu
        and latents.ndim == 2
        and latents.shape[1] == layout.input_width
        and weight.shape == (layout.weight_size,)
    ):
        return
    check_latents(latents, layout)
    check_weight(weight, layout)
    check_same_device(latents=latents, weight=weight)


def check_indices(indices: Tensor, layout: CodebookLayout, *, values: bool = True) -> None:
    """Integers [B, Q], each in 0..K_q - 1; a traced tensor has no ``values`` to check."""
    check_tensor("indices", indices)
    if indices.dtype not in (torch.int64, torch.int32):
        raise InputError(
            f"indices: expected int64 (or int32), got {indices.dtype}; convert with .long()"
        )
    count = layout.num_quantizers
    if indices.ndim != 2 or indices.shape[1] != count:
        raise _wrong_shape("indices", indices, f"[B, {count}] (one index per quantizer)")
    if not values or not len(indices):
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
    first, *others = tensors.values()
    if any(other.device != first.device for other in others):
        listed = ", ".join(f"{name} on {tensor.device}" for name, tensor in tensors.items())
        raise InputError(f"expected all tensors on one device, got {listed}; move them with .to()")


def check_same_rows(**tensors: Tensor) -> None:
    """All with one number of rows."""
    first, *others = tensors.values()
    if any(other.shape[0] != first.shape[0] for other in others):
        listed = ", ".join(f"{tensor.shape[0]} in {name}" for name, tensor in tensors.items())
        raise InputError(f"expected as many rows in each tensor, got {listed}; pass one batch")


def check_out(
    name: str, out: Tensor, shape: tuple[int, ...], dtype: torch.dtype, like: Tensor
) -> None:
    """A contiguous buffer of that shape and type on the device of ``like``, without gradient."""
    check_tensor(name, out)
    fits = out.shape == shape and out.dtype == dtype and out.device == like.device
    if not fits or not out.is_contiguous() or out.requires_grad:
        raise InputError(
            f"{name}: expected a contiguous {dtype} buffer of shape {list(shape)} on "
            f"{like.device}, without gradient, got {out.dtype} {list(out.shape)} on {out.device} "
            f"with strides {out.stride()}; make it with torch.empty"
        )


def check_apart(name: str, out: Tensor, **read: Tensor) -> None:
    """A contiguous buffer whose memory lies before or behind that of each tensor ``read``.

    Not for traced tensors: they have no address.
    """
    if out.is_neg():
        raise InputError(
            f"{name}: expected memory that holds the values themselves, got a lazily negated view "
            "of it; make it with torch.empty"
        )
    first, size = out.data_ptr(), out.nbytes
    for other, tensor in read.items():
        begin = tensor.data_ptr()
        if begin >= first + size:
            continue
        last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
        if first < begin + (last + 1) * tensor.element_size():
            raise InputError(
                f"{name}: expected memory apart from {other}, which is read while the buffer is "
                "written, got memory that both lie in; make it with torch.empty"
            )


def _check_floating(name: str, tensor: Tensor) -> None:
    check_tensor(name, tensor)
    if not tensor.is_floating_point():
        raise InputError(
            f"{name}: expected floating point, got {tensor.dtype}; convert with .float()"
        )
    if tensor.is_mps:
        raise InputError(
            f"{name}: expected a device with float64, got {tensor.device}; move to the cpu"
        )


def _wrong_shape(name: str, tensor: Tensor, expected: str) -> InputError:
    return InputError(
        f"{name}: expected shape {expected}, got {list(tensor.shape)}; "
        "pass tensors made for this layout"
    )


def _few(values: tuple[int, ...], shown: int = 6) -> str:
    listed = ", ".join(str(value) for value in values[:shown])
    return f"{listed}, .. ({len(values)} quantizers)" if len(values) > shown else listed
