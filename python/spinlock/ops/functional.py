"""The quantizer's operations on tensors; arguments are checked here and nowhere deeper."""

from typing import NamedTuple

from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.ops import _torch
from spinlock.ops._autograd import quantization_losses, straight_through
from spinlock.ops._backend import AverageState, resolve_backend, resolve_fused
from spinlock.ops._fused import fused_quantize
from spinlock.ops._validate import (
    check_indices,
    check_latents,
    check_same_device,
    check_same_rows,
    check_weight,
)
from spinlock.ops.padding import padding_plan
from spinlock.ops.usable import usable_rows

__all__ = [
    "Quantized",
    "accumulate_codes",
    "gather_codes",
    "nearest_codes",
    "quantize",
    "quantize_and_update",
]


class Quantized(NamedTuple):
    """What :func:`quantize` returns.

    Attributes:
        quantized: [B, input_width] in the latents' dtype, the chosen codes; its gradient goes
            straight through to the latents.
        indices: int64 [B, Q], the chosen codes' numbers.
        commitment: [Q], mean over rows and D_q dims of (x - stop_gradient(c))^2.
        codebook_loss: [Q], mean over rows and D_q dims of (stop_gradient(x) - c)^2.
    """

    quantized: Tensor
    indices: Tensor
    commitment: Tensor
    codebook_loss: Tensor


def nearest_codes(
    latents: Tensor, weight: Tensor, layout: CodebookLayout, *, backend: str | None = None
) -> Tensor:
    """The nearest code of every quantizer for every row, exactly.

    The distance is the float64 sum over d, ascending, of (double(x_d) - double(c_d))^2 without
    fused multiply-add; the lowest index wins ties.  Rows that are not finite as float32 within a
    quantizer's columns get index 0 there.

    Args:
        latents: dense [B, input_width], any floating dtype: quantizer q's D_q columns begin at
            ``layout.input_offsets[q]``.
        weight: flat [weight_size], any floating dtype.
        layout: where codebooks and columns lie.
        backend: ``"reference"``, ``"torch"``, ``"triton"`` or ``"cpp"``; None lets the device and
            the types decide.

    Returns:
        int64 [B, Q].

    Raises:
        InputError: a tensor that does not fit the layout, or an unknown backend.

    >>> import torch
    >>> layout = CodebookLayout(codebook_sizes=(3, 2), dims=(1, 2))
    >>> weight = torch.from_numpy(layout.pack_codebooks([[[0], [1], [2]], [[0, 0], [5, 5]]]))
    >>> nearest_codes(torch.tensor([[1.4, 3.0, 3.0], [0.5, 0.0, 1.0]]), weight, layout)
    tensor([[1, 1],
            [0, 0]])
    """
    _check_latents_and_weight(latents, weight, layout)
    fused = resolve_fused(backend, latents, weight)
    if fused is not None:
        return fused.nearest_codes(latents.detach(), weight.detach(), layout)
    usable = usable_rows(latents, layout)
    chosen = resolve_backend(backend)
    return chosen.nearest_codes(latents.detach(), weight.detach(), layout, usable)


def gather_codes(indices: Tensor, weight: Tensor, layout: CodebookLayout) -> Tensor:
    """The codes of the given indices side by side; differentiable in ``weight``.

    Args:
        indices: int64 or int32 [B, Q], each in 0..K_q - 1.
        weight: flat [weight_size].
        layout: where codebooks and columns lie.

    Returns:
        dense [B, input_width] in ``weight.dtype``.

    Raises:
        InputError: a tensor that does not fit the layout, or an index out of range.
    """
    check_indices(indices, layout)
    check_weight(weight, layout)
    check_same_device(indices=indices, weight=weight)
    return _torch.gather_codes(indices, weight, layout)


def accumulate_codes(
    latents: Tensor, indices: Tensor, layout: CodebookLayout, *, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """How many rows chose each code, and their sum: the statistics of k-means and EMA.

    Args:
        latents: dense [B, input_width], any floating dtype.
        indices: int64 or int32 [B, Q], each in 0..K_q - 1.
        layout: where codebooks and columns lie.
        backend: as in :func:`nearest_codes`.

    Returns:
        counts float32 [total_codes], in the order of global code ids, and sums float32
        [weight_size], packed like the weight.  Rows that :func:`nearest_codes` skips are left
        out.  Sums differ between backends by float32 rounding only.

    Raises:
        InputError: a tensor that does not fit the layout, or an unknown backend.
    """
    check_latents(latents, layout)
    _check_chosen(latents, indices, layout)
    fused = resolve_fused(backend, latents)
    if fused is not None:
        return fused.accumulate_codes(latents.detach(), indices, layout)
    usable = usable_rows(latents, layout)
    return resolve_backend(backend).accumulate_codes(latents.detach(), indices, layout, usable)


def quantize(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    *,
    indices: Tensor | None = None,
    backend: str | None = None,
) -> Quantized:
    """Replaces every row's latents by their nearest codes, with the usual gradients.

    Args:
        latents: dense [B, input_width], any floating dtype.
        weight: flat [weight_size]; the gradient of ``codebook_loss`` reaches it if it asks.
        layout: where codebooks and columns lie.
        indices: int64 [B, Q], codes already chosen; None looks the nearest ones up.
        backend: as in :func:`nearest_codes`.

    Returns:
        :class:`Quantized`.  A row that quantizer q skips comes out as its code 0, with zero
        gradient, and is in no mean; a quantizer with no usable row has losses of 0.

    Raises:
        InputError: a tensor that does not fit the layout, or an unknown backend.
    """
    _check_latents_and_weight(latents, weight, layout)
    if indices is None and not weight.requires_grad:
        fused = resolve_fused(backend, latents, weight)
        if fused is not None:
            quantized, found, losses, _ = fused_quantize(latents, weight, layout, fused)
            return Quantized(quantized, found, losses, losses.detach())
    if indices is None:
        indices = nearest_codes(latents, weight, layout, backend=backend)
    else:
        _check_chosen(latents, indices, layout)
        indices = indices.long()
    usable = usable_rows(latents, layout)
    codes = _torch.gather_codes(indices, weight.detach(), layout)
    keep = None
    if usable is not None:
        keep = usable.index_select(1, padding_plan(layout, latents.device).column_quantizer)
    commitment, codebook_loss = quantization_losses(latents, weight, codes, indices, layout, usable)
    quantized = straight_through(latents, codes.to(latents.dtype), keep)
    return Quantized(quantized, indices, commitment, codebook_loss)


def quantize_and_update(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    state: AverageState,
    *,
    backend: str | None = None,
) -> tuple[Quantized, Tensor] | None:
    """A whole train step in one call, where the backend has it; None where it has not.

    Args:
        latents: as in :func:`quantize`.
        weight: float32 [weight_size], without gradient; changes in place.
        layout: where codebooks and columns lie.
        state: moving averages and counters, changed in place.
        backend: as in :func:`nearest_codes`.

    Returns:
        :class:`Quantized`, with the codes before the update, and the batch's counts, float32
        [total_codes].

    Raises:
        InputError: a tensor that does not fit the layout, or an unknown backend.
    """
    _check_latents_and_weight(latents, weight, layout)
    fused = resolve_fused(backend, latents, weight)
    if fused is None:
        return None
    quantized, indices, losses, counts = fused_quantize(latents, weight, layout, fused, state)
    return Quantized(quantized, indices, losses, losses.detach()), counts


def _check_latents_and_weight(latents: Tensor, weight: Tensor, layout: CodebookLayout) -> None:
    check_latents(latents, layout)
    check_weight(weight, layout)
    check_same_device(latents=latents, weight=weight)


def _check_chosen(latents: Tensor, indices: Tensor, layout: CodebookLayout) -> None:
    check_indices(indices, layout)
    check_same_device(latents=latents, indices=indices)
    check_same_rows(latents=latents, indices=indices)
