"""The quantizer's operations on tensors; arguments are checked here and nowhere deeper."""

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.ops import _steps, _torch
from spinlock.ops._averages import mark_changed
from spinlock.ops._backend import AverageState, Quantized, Step, check_backend
from spinlock.ops._fused import with_gradients, with_gradients_directly
from spinlock.ops._gradients import codebooks_to_keep
from spinlock.ops._library import layout_spec
from spinlock.ops._library_rules import OPS
from spinlock.ops._traced import is_traced, is_transformed
from spinlock.ops._transformed import quantize_transformed
from spinlock.ops._validate import (
    check_apart,
    check_indices,
    check_latents,
    check_latents_and_weight,
    check_out,
    check_same_device,
    check_same_rows,
    check_weight,
)

__all__ = [
    "Quantized",
    "accumulate_codes",
    "gather_codes",
    "nearest_codes",
    "quantize",
    "quantize_and_update",
]


def nearest_codes(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    *,
    out: Tensor | None = None,
    backend: str | None = None,
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
        out: contiguous int64 [B, Q] on the same device, overwritten and returned.
        backend: ``"reference"``, ``"torch"``, ``"triton"`` or ``"cpp"``; None lets the device and
            the types decide.

    Returns:
        int64 [B, Q].

    Raises:
        InputError: a tensor that does not fit the layout, or an unknown backend.

    >>> layout = CodebookLayout(codebook_sizes=(3, 2), dims=(1, 2))
    >>> weight = torch.from_numpy(layout.pack_codebooks([[[0], [1], [2]], [[0, 0], [5, 5]]]))
    >>> nearest_codes(torch.tensor([[1.4, 3.0, 3.0], [0.5, 0.0, 1.0]]), weight, layout)
    tensor([[1, 1],
            [0, 0]])
    """
    check_latents_and_weight(latents, weight, layout)
    if out is not None:
        check_out("out", out, (latents.shape[0], layout.num_quantizers), torch.int64, latents)
    if is_traced(latents, weight):
        check_backend(backend)
        operands = latents.detach(), weight.detach()
        found: Tensor = OPS.nearest_codes(*operands, *layout_spec(layout), backend)
        return found if out is None else out.copy_(found)
    return _steps.lookup(latents, weight, layout, backend, out)


def gather_codes(indices: Tensor, weight: Tensor, layout: CodebookLayout) -> Tensor:
    """The codes of the given indices side by side; differentiable in ``weight``.

    Args:
        indices: int64 or int32 [B, Q], each in 0..K_q - 1; a traced call checks them when it runs.
        weight: flat [weight_size].
        layout: where codebooks and columns lie.

    Returns:
        dense [B, input_width] in ``weight.dtype``.

    Raises:
        InputError: a tensor that does not fit the layout, or an index out of range.
    """
    traced = is_traced(indices, weight)
    check_indices(indices, layout, values=not traced)
    check_weight(weight, layout)
    check_same_device(indices=indices, weight=weight)
    if traced and not is_transformed():
        codes: Tensor = OPS.gather_codes(indices, weight, *layout_spec(layout))
        return codes
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
    traced = is_traced(latents, indices)
    _check_chosen(latents, indices, layout, values=not traced)
    if traced:
        check_backend(backend)
        spec = layout_spec(layout)
        counts, sums = OPS.accumulate_codes(latents.detach(), indices, *spec, backend)
        return counts, sums
    return _steps.accumulate(latents, indices, layout, backend)


def quantize(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    *,
    indices: Tensor | None = None,
    rotation: bool = False,
    out: tuple[Tensor, Tensor] | None = None,
    backend: str | None = None,
) -> Quantized:
    """Replaces every row's latents by their nearest codes, with the usual gradients.

    Args:
        latents: dense [B, input_width], any floating dtype.
        weight: flat [weight_size]; the gradient of ``codebook_loss`` reaches it if it asks.
        layout: where codebooks and columns lie.
        indices: int64 [B, Q], codes already chosen; None looks the nearest ones up.
        rotation: the gradient of ``quantized`` reaches the latents rotated and scaled as the
            latents are onto their codes (Fifty et al. 2024), not straight through.
        out: contiguous buffers, overwritten and returned: ``quantized`` [B, input_width] of the
            latents' type, ``indices`` int64 [B, Q].  Only where no gradient is asked.  What
            ``quantized`` is written to shares no memory with latents or weight.
        backend: as in :func:`nearest_codes`.

    Returns:
        :class:`Quantized`.  A row that quantizer q skips comes out as its code 0, with zero
        gradient, and is in no mean; a quantizer with no usable row has losses of 0.

    Raises:
        InputError: a tensor that does not fit the layout, or an unknown backend.
    """
    check_latents_and_weight(latents, weight, layout)
    traced = is_traced(latents, weight)
    if indices is not None:
        _check_chosen(latents, indices, layout, values=not traced)
        indices = indices.long()
    if out is not None:
        _check_buffers(latents, weight, layout, out, traced=traced)
    if traced:
        check_backend(backend)
        spec = layout_spec(layout)
        operator = quantize_transformed if is_transformed() else OPS.quantize
        result = operator(latents, weight, indices, *spec, backend, rotation)
        codes, found, commitment, codebook_loss, counts = result
        quantized = codes.to(latents.dtype)
        if out is not None:
            quantized, found = out[0].copy_(quantized), out[1].copy_(found)
        mean = commitment.mean()
        return Quantized(quantized, found, commitment, codebook_loss, counts, mean)
    native = out is not None and latents.dtype is _steps.working_dtype(latents, weight)
    kept = codebooks_to_keep(latents, weight, layout, backend, rotation)
    step = _steps.quantize_step(latents, weight, layout, indices, backend, out if native else None)
    done = with_gradients_directly(latents, weight, layout, step, rotation, backend, kept)
    if out is None or native:
        return done
    return done._replace(quantized=out[0].copy_(done.quantized), indices=out[1].copy_(done.indices))


def quantize_and_update(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    state: AverageState,
    *,
    rotation: bool = False,
    backend: str | None = None,
) -> Quantized:
    """A whole train step: :func:`quantize`, and then the moving averages and the codes move.

    Args:
        latents: as in :func:`quantize`.
        weight: float32 [weight_size], without gradient; changes in place.  Where ``state`` has no
            sums, any weight, which does not change.
        layout: where codebooks and columns lie.
        state: moving averages and counters, changed in place.
        rotation: as in :func:`quantize`.
        backend: as in :func:`nearest_codes`.

    Returns:
        :class:`Quantized`, with the codes before the update.

    Raises:
        InputError: a tensor that does not fit the layout, an unknown backend, or a call under a
            transform of ``torch.func``.
    """
    check_latents_and_weight(latents, weight, layout)
    if not is_traced(latents, weight):
        kept = codebooks_to_keep(latents, weight, layout, backend, rotation)
        step = _steps.train_step(latents, weight, layout, state, backend)
        mark_changed(weight, state)
        return with_gradients_directly(latents, weight, layout, step, rotation, backend, kept)
    if is_transformed():
        raise InputError(
            "train step: expected a call outside torch.func transforms, for it changes its state "
            "in place; call eval() on the module first, or take ops.quantize"
        )
    check_backend(backend)
    spec = layout_spec(layout)
    if state.ema_sums is None:
        result = quantize(latents, weight, layout, rotation=rotation, backend=backend)
        counters = (state.ema_counts, state.epoch_counts, state.epoch_skipped)
        OPS.update_counts(result.counts, *counters, latents.shape[0], state.decay, *spec)
        return result
    step = Step(*OPS.train_step(latents.detach(), weight, *state, *spec, backend))
    return with_gradients(latents, weight, layout, step, rotation=rotation, backend=backend)


def _check_chosen(
    latents: Tensor, indices: Tensor, layout: CodebookLayout, *, values: bool
) -> None:
    check_indices(indices, layout, values=values)
    check_same_device(latents=latents, indices=indices)
    check_same_rows(latents=latents, indices=indices)


def _check_buffers(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    out: tuple[Tensor, Tensor],
    *,
    traced: bool,
) -> None:
    if torch.is_grad_enabled() and (latents.requires_grad or weight.requires_grad):
        raise InputError(
            "out: expected latents and weight without gradient, for buffers are overwritten; "
            "call under torch.no_grad(), or leave out away"
        )
    check_out("out[0]", out[0], (latents.shape[0], layout.input_width), latents.dtype, latents)
    check_out("out[1]", out[1], (latents.shape[0], layout.num_quantizers), torch.int64, latents)
    if not traced:  # whose buffers are written in the end
        check_apart("out[0]", out[0], latents=latents, weight=weight)
