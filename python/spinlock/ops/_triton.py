"""The Triton backend: ``spinlock.kernels`` on the tensors of a layout, on CUDA devices.

Latents and weight are float32, float16 or bfloat16 on one CUDA device.  Indices equal those of
``_reference``.  Rows that are not finite within a quantizer's columns are found inside the kernels:
index 0, code 0, in no loss, count or sum.  No function waits for the device, except to copy the
tables of a layout that is new there.
"""

from typing import cast

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.kernels import launch
from spinlock.kernels.bank import Bank, make_bank
from spinlock.layout import CodebookLayout
from spinlock.ops._backend import Step

__all__ = [
    "accumulate_codes",
    "backward",
    "nearest_codes",
    "quantize",
    "supports",
    "train_step",
]

_banks: dict[tuple[CodebookLayout, torch.device], Bank] = {}
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def supports(*tensors: Tensor) -> bool:
    """Whether this backend takes latents and weights like these."""
    return all(tensor.is_cuda and tensor.dtype in _DTYPES for tensor in tensors)


def nearest_codes(
    latents: Tensor, weight: Tensor, layout: CodebookLayout, *, out: Tensor | None = None
) -> Tensor:
    """int64 [B, Q], the nearest codes; copied to ``out`` if given."""
    bank = bank_of(layout, latents.device)
    found = cast(Tensor, launch.nearest(_rows(latents), weight.contiguous(), bank))
    return found if out is None else out.copy_(found)


def accumulate_codes(
    latents: Tensor, indices: Tensor, layout: CodebookLayout
) -> tuple[Tensor, Tensor]:
    """(counts float32 [total_codes], sums float32 [weight_size]) of the usable rows of each code.

    Sums are added up in fixed point: the same bits in every run.
    """
    chosen = indices.to(torch.int64).contiguous()
    found = launch.accumulate(_rows(latents), chosen, bank_of(layout, latents.device))
    return cast(tuple[Tensor, Tensor], found)


def quantize(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    *,
    out: tuple[Tensor, Tensor] | None = None,
) -> Step:
    """Lookup, gather, losses and counts; codes and indices are copied to ``out`` if given."""
    bank = bank_of(layout, latents.device)
    step = _step(launch.quantize(_widened(latents), weight.contiguous(), bank))
    if out is None:
        return step
    return step._replace(quantized=out[0].copy_(step.quantized), indices=out[1].copy_(step.indices))


def train_step(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    ema_counts: Tensor,
    ema_sums: Tensor,
    epoch_counts: Tensor,
    epoch_skipped: Tensor,
    decay: float,
    epsilon: float,
) -> Step:
    """As :func:`quantize`, and one EMA step; all state changes in place after the lookup.

    Args:
        latents: [B, input_width].
        weight: float32 [weight_size].
        layout: where codebooks and columns lie.
        ema_counts, ema_sums, epoch_counts, epoch_skipped, decay, epsilon: as in ``AverageState``.

    Raises:
        InputError: state of another type, size or form in memory, or on another device.
    """
    codes, elements, device = layout.total_codes, layout.weight_size, latents.device
    _check_state("weight", weight, torch.float32, elements, device)
    _check_state("ema_counts", ema_counts, torch.float32, codes, device)
    _check_state("ema_sums", ema_sums, torch.float32, elements, device)
    _check_state("epoch_counts", epoch_counts, torch.int64, codes, device)
    _check_state("epoch_skipped", epoch_skipped, torch.int64, layout.num_quantizers, device)
    averages = launch.Averages(ema_counts, ema_sums, epoch_counts, epoch_skipped, decay, epsilon)
    bank = bank_of(layout, latents.device)
    return _step(launch.quantize(_widened(latents), weight, bank, averages))


def backward(
    latents: Tensor,
    quantized: Tensor,
    counts: Tensor,
    grad_quantized: Tensor | None,
    grad_losses: Tensor,
    layout: CodebookLayout,
) -> Tensor:
    """The gradient of the latents, in their dtype: straight-through plus commitment.

    Args:
        latents: [B, input_width].
        quantized: float32 [B, input_width], and counts int64 [total_codes], of the step.
        counts: see there.
        grad_quantized: [B, input_width]; None: zeros.
        grad_losses: float32 [Q].
        layout: where columns lie.
    """
    bank = bank_of(layout, latents.device)
    rows = _rows(latents)
    if grad_quantized is None:
        grad_quantized = torch.zeros_like(quantized)
    grad = launch.backward(rows, quantized, counts, grad_quantized, grad_losses, bank)
    return cast(Tensor, grad)


def bank_of(layout: CodebookLayout, device: torch.device) -> Bank:
    """The layout as kernels see it; built once per device, and kept.

    A captured graph holds the addresses of a bank's tables and nothing that keeps them alive.
    """
    found = _banks.get((layout, device))
    # Of two threads the first one's bank is taken by both.
    return found or _banks.setdefault((layout, device), _made(layout, device))


def _made(layout: CodebookLayout, device: torch.device) -> Bank:
    # Tensors made under inference_mode could not be saved for a later backward pass.
    with torch.inference_mode(False):
        return make_bank(
            layout.codebook_sizes,
            layout.dims,
            layout.padded_dims,
            layout.input_offsets,
            layout.code_offsets,
            layout.weight_offsets,
            layout.weight_size,
            device,
        )


def _check_state(
    name: str, state: Tensor, dtype: torch.dtype, size: int, device: torch.device
) -> None:
    """What kernels change in place, by its address alone."""
    fits = state.dtype is dtype and state.numel() == size and state.device == device
    if not fits or not state.is_contiguous():
        raise InputError(
            f"{name}: expected contiguous {dtype} [{size}] on {device}, got {state.dtype} "
            f"{list(state.shape)} on {state.device} with strides {state.stride()}; make it for "
            "this layout, with contiguous()"
        )


def _rows(latents: Tensor) -> Tensor:
    return latents if latents.stride(1) == 1 else latents.contiguous()


def _widened(latents: Tensor) -> Tensor:
    return _rows(latents.to(torch.float32))


def _step(step: launch.Step) -> Step:
    return Step(step.quantized, step.indices, step.losses, step.counts, step.mean_loss)
