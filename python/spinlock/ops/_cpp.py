"""The C++ backend: all quantizers of a layout in one call, exact, on the CPU.

Latents are float32, float16 or bfloat16 [B, input_width] on the CPU (any strides; what is not
float32 with contiguous rows is copied into it first), the weight float32, float16 or bfloat16
[weight_size].  Indices equal those of ``_reference``.  Rows that are not finite as float32 within
a quantizer's columns are found inside the kernel: index 0, code 0, in no loss, count or sum.
Shapes are the caller's to check; what would touch foreign memory is checked by the core, which
reads from the tensors themselves where they lie and what they hold.

Every function takes ``threads`` (None: ``torch.get_num_threads()``), which changes no bit of any
result, and ``isa``, one of ``instruction_sets()`` ("": the fastest), which changes sums of squared
errors by rounding only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spinlock import _C
from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.ops._backend import Step
from spinlock.ops._row_memory import as_dense, as_rows

__all__ = [
    "BACKWARD_TAKES_CODEBOOKS",
    "accumulate_codes",
    "backward",
    "instruction_sets",
    "nearest_codes",
    "quantize",
    "refresh_codes",
    "supports",
    "train_step",
]

# Whether ``backward`` takes weight and indices in place of the rows of codes.
BACKWARD_TAKES_CODEBOOKS = True

_CPU = torch.device("cpu")
_WIDENED = (torch.float32, torch.float16, torch.bfloat16)


def instruction_sets() -> list[str]:
    """What ``isa`` may be on this machine, the fastest last."""
    return _C.instruction_sets()


def supports(*tensors: Tensor) -> bool:
    """Whether this backend takes latents or weights like these.

    It reads memory by its address: traced calls reach it when they run, through ``_library``.
    """
    for tensor in tensors:  # noqa: SIM110 - all() takes three times as long, in every step
        if not tensor.is_cpu or tensor.dtype not in _WIDENED:
            return False
    return True


def nearest_codes(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    *,
    out: Tensor | None = None,
    threads: int | None = None,
    isa: str = "",
) -> Tensor:
    """int64 [B, Q], the nearest codes; in ``out``, contiguous, if given."""
    if out is None:
        shape = latents.shape[0], len(layout.dims)
        out = torch.empty(*shape, dtype=torch.int64, device=_CPU)
    _C.quantize_rows(
        layout.plan,
        _rows(latents),
        _flat("weight", weight),
        indices=out,
        threads=_threads(threads),
        isa=isa,
    )
    return out


def accumulate_codes(
    latents: Tensor,
    indices: Tensor,
    layout: CodebookLayout,
    *,
    threads: int | None = None,
    isa: str = "",
) -> tuple[Tensor, Tensor]:
    """(counts float32 [total_codes], sums float32 [weight_size]) of the usable rows of each code.

    Raises:
        LayoutError: an index outside its codebook.
    """
    counts = torch.empty(layout.total_codes, dtype=torch.int64, device=_CPU)
    sums = torch.empty(layout.weight_size, dtype=torch.float32, device=_CPU)
    _C.quantize_rows(
        layout.plan,
        _rows(latents),
        None,
        given=as_dense(indices.to(torch.int64)),
        counts=counts,
        sums=sums,
        threads=_threads(threads),
        isa=isa,
    )
    return counts.to(torch.float32), sums


def quantize(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    *,
    out: tuple[Tensor, Tensor] | None = None,
    threads: int | None = None,
    isa: str = "",
) -> Step:
    """Lookup, gather, losses and counts in one pass; codes and indices in ``out`` if given."""
    return _step(latents, _flat("weight", weight), layout, None, threads, isa, out)


def train_step(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    ema_counts: Tensor,
    ema_sums: Tensor,
    epoch_counts: Tensor | None,
    epoch_skipped: Tensor | None,
    decay: float,
    epsilon: float,
    *,
    threads: int | None = None,
    isa: str = "",
) -> Step:
    """As :func:`quantize`, and one step of ``spinlock.modules.ema.ema_step`` in the same call.

    All state is contiguous, on the CPU, and changes in place after the lookup.

    Args:
        latents: [B, input_width].
        weight: float32 [weight_size]; becomes sums over smoothed counts.
        layout: where codebooks and columns lie.
        ema_counts: float32 [total_codes].
        ema_sums: float32 [weight_size].
        epoch_counts: int64 [total_codes], grows by the batch's counts; or None.
        epoch_skipped: int64 [Q], grows by the rows that could not be used; or None.
        decay: 0 <= decay < 1.
        epsilon: > 0, pseudo-rows per code.
        threads: see the module's text.
        isa: see the module's text.

    Raises:
        InputError: state of another type or form in memory.
        LayoutError: state of another size, or a decay or epsilon out of range.
    """
    if weight.is_neg():
        raise InputError(
            "weight: expected memory that holds the codes themselves, got a lazily negated view of "
            "it, which cannot change in place; pass weight.resolve_neg()"
        )
    state = ema_counts, ema_sums, weight, epoch_counts, epoch_skipped, decay, epsilon
    return _step(latents, weight, layout, state, threads, isa)


def backward(
    latents: Tensor,
    quantized: Tensor | tuple[Tensor, Tensor],
    counts: Tensor,
    grad_quantized: Tensor | None,
    grad_losses: Tensor,
    layout: CodebookLayout,
    *,
    threads: int | None = None,
    isa: str = "",
) -> Tensor:
    """The gradient of the latents, in their dtype: straight-through plus commitment.

    Args:
        latents: [B, input_width].
        quantized: contiguous float32 [B, input_width], of the step; or the weight [weight_size] as
            the step found it, and the indices int64 [B, Q] that it chose.
        counts: contiguous int64 [total_codes], likewise.
        grad_quantized: [B, input_width]; None: nothing comes straight through.
        grad_losses: [Q].
        layout: where columns lie.
        threads: see the module's text.
        isa: see the module's text.

    Raises:
        LayoutError: a tensor of another size, or an index outside its codebook.
    """
    rows: Tensor | None = None
    weight: Tensor | None = None
    indices: Tensor | None = None
    if isinstance(quantized, Tensor):
        rows = _flat("quantized", quantized)
    else:
        weight, indices = _flat("weight", quantized[0]), as_dense(quantized[1])
    grad = None if grad_quantized is None else as_rows(_widened("grad_quantized", grad_quantized))
    losses = _widened("grad_losses", grad_losses).resolve_neg()
    shape = latents.shape[0], layout.input_width
    to_latents = torch.empty(*shape, dtype=torch.float32, device=_CPU)
    _C.quantize_backward(
        layout.plan,
        _rows(latents),
        quantized=rows,
        weight=weight,
        indices=indices,
        counts=counts,
        grad_quantized=grad,
        grad_losses=losses if losses.stride(0) in (0, 1) else losses.contiguous(),
        grad_latents=to_latents,
        threads=_threads(threads),
        isa=isa,
    )
    return to_latents if to_latents.dtype is latents.dtype else to_latents.to(latents.dtype)


def refresh_codes(
    counts: Tensor,
    sums: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    ema_counts: Tensor,
    ema_sums: Tensor,
    epoch_counts: Tensor | None,
    decay: float,
    epsilon: float,
    *,
    threads: int | None = None,
) -> None:
    """The EMA step of :func:`train_step` alone, from statistics that several batches may share.

    Args:
        counts: float32 [total_codes], as :func:`accumulate_codes` returns them.
        sums: float32 [weight_size], likewise.
        weight: this and the rest as in :func:`train_step`.
    """
    counts, sums = _flat("counts", counts), _flat("sums", sums)
    state = ema_counts, ema_sums, weight, epoch_counts, None, decay, epsilon
    _C.refresh_codes(layout.plan, counts, sums, state, threads=_threads(threads))


def _step(
    latents: Tensor,
    weight: Tensor,
    layout: CodebookLayout,
    state: _C.State | None,
    threads: int | None,
    isa: str,
    out: tuple[Tensor, Tensor] | None = None,
) -> Step:
    # Sizes one by one, for a tuple of them takes twice the time.
    empty, float32, int64 = torch.empty, torch.float32, torch.int64
    num_rows, count = latents.shape[0], len(layout.dims)
    quantized, indices = out or (
        empty(num_rows, layout.input_width, dtype=float32, device=_CPU),
        empty(num_rows, count, dtype=int64, device=_CPU),
    )
    losses = empty(count, dtype=float32, device=_CPU)
    mean_loss = empty((), dtype=float32, device=_CPU)
    counts = empty(layout.total_codes, dtype=int64, device=_CPU)
    _C.quantize_rows(
        layout.plan,
        _rows(latents),
        weight,
        indices=indices,
        quantized=quantized,
        losses=losses,
        mean_loss=mean_loss,
        counts=counts,
        state=state,
        threads=_threads(threads),
        isa=isa,
    )
    return Step(quantized, indices, losses, counts, mean_loss)


def _rows(latents: Tensor) -> Tensor:
    """Float32 [B, input_width] whose columns lie side by side, the same memory where possible."""
    rows = latents if latents.dtype is torch.float32 else _widened("latents", latents)
    if rows.is_neg():  # as of z.conj().imag: the sign is not in memory
        rows = rows.resolve_neg()
    return rows if rows.stride(1) == 1 else rows.contiguous()


def _flat(name: str, values: Tensor) -> Tensor:
    values = values if values.dtype is torch.float32 else _widened(name, values)
    return as_dense(values)


def _widened(name: str, values: Tensor) -> Tensor:
    if values.dtype is torch.float32 and values.is_cpu:
        return values
    if not supports(values):
        raise InputError(
            f"{name}: expected float32, float16 or bfloat16 on the CPU, got {values.dtype} on "
            f"{values.device}; convert it, or take backend 'torch'"
        )
    return values.detach().to(torch.float32)


def _threads(threads: int | None) -> int:
    return torch.get_num_threads() if threads is None else threads
