"""The operations as registered operators, for calls that are traced, exported or transformed.

``torch.ops.spinlock.*`` are opaque to tracers: a fake kernel gives the shapes, an autograd formula
the gradients, and what runs in the end is ``_steps``, on whichever backend the table chooses then.
Layouts travel as the constants they are made of.  They are declared by ``Library.define``, whose
dispatch costs a quarter of ``torch.library.custom_op``'s.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.ops import _gradients, _steps, _torch
from spinlock.ops._backend import AverageState
from spinlock.ops._validate import check_indices

__all__ = ["LIBRARY", "layout_of", "layout_spec"]

Spec = tuple[Sequence[int], Sequence[int], int]

LIBRARY: Any = torch.library.Library("spinlock", "FRAGMENT")  # type: ignore[no-untyped-call]
_LAYOUT = "int[] codebook_sizes, int[] dims, int alignment"
_SCHEMAS = {
    "nearest_codes": f"(Tensor latents, Tensor weight, {_LAYOUT}, str? backend) -> Tensor",
    "gather_codes": f"(Tensor indices, Tensor weight, {_LAYOUT}) -> Tensor",
    "scatter_codes": f"(Tensor grad, Tensor indices, {_LAYOUT}) -> Tensor",
    "accumulate_codes": (
        f"(Tensor latents, Tensor indices, {_LAYOUT}, str? backend) -> (Tensor, Tensor)"
    ),
    "quantize": (
        f"(Tensor latents, Tensor weight, Tensor? indices, {_LAYOUT}, str? backend, "
        "bool rotation) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
    ),
    "train_step": (
        "(Tensor latents, Tensor(a!) weight, Tensor(b!) ema_counts, Tensor(c!) ema_sums, "
        "Tensor(d!) epoch_counts, Tensor(e!) epoch_skipped, float decay, float epsilon, "
        f"bool unit_codes, {_LAYOUT}, str? backend) -> (Tensor, Tensor, Tensor, Tensor)"
    ),
    "update_counts": (
        "(Tensor counts, Tensor(a!) ema_counts, Tensor(b!) epoch_counts, "
        f"Tensor(c!) epoch_skipped, SymInt num_rows, float decay, {_LAYOUT}) -> ()"
    ),
    "attach_gradients": (
        "(Tensor latents, Tensor weight, Tensor codes, Tensor indices, Tensor losses, "
        f"Tensor counts, {_LAYOUT}, str? backend, bool rotation) "
        "-> (Tensor, Tensor, Tensor)"
    ),
    "latents_gradient": (
        "(Tensor latents, Tensor codes, Tensor counts, Tensor grad_quantized, Tensor grad_losses, "
        f"{_LAYOUT}, str? backend, bool rotation) -> Tensor"
    ),
    "weight_gradient": (
        "(Tensor latents, Tensor codes, Tensor indices, Tensor counts, Tensor grad_losses, "
        f"{_LAYOUT}, str? backend) -> Tensor"
    ),
}


def layout_spec(layout: CodebookLayout) -> Spec:
    """What a layout is made of, as operators take it."""
    return layout.codebook_sizes, layout.dims, layout.alignment


def layout_of(codebook_sizes: Sequence[int], dims: Sequence[int], alignment: int) -> CodebookLayout:
    """The layout again; remembered."""
    return _layout_of(tuple(codebook_sizes), tuple(dims), alignment)


@lru_cache(maxsize=1024)
def _layout_of(
    codebook_sizes: tuple[int, ...], dims: tuple[int, ...], alignment: int
) -> CodebookLayout:
    return CodebookLayout(codebook_sizes, dims, alignment)


def _nearest_codes(latents: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    *spec, backend = rest
    return _steps.lookup(latents, weight, layout_of(*spec), backend)


def _gather_codes(indices: Tensor, weight: Tensor, *spec: Any) -> Tensor:
    layout = layout_of(*spec)
    check_indices(indices, layout)
    return _torch.gather_codes(indices, weight, layout)


def _scatter_codes(grad: Tensor, indices: Tensor, *spec: Any) -> Tensor:
    return _torch.sum_by_code(grad, indices, layout_of(*spec), None)


def _accumulate_codes(latents: Tensor, indices: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    *spec, backend = rest
    layout = layout_of(*spec)
    check_indices(indices, layout)
    return _steps.accumulate(latents, indices, layout, backend)


def _quantize(
    latents: Tensor, weight: Tensor, indices: Tensor | None, *rest: Any
) -> tuple[Tensor, ...]:
    *spec, backend, _ = rest
    layout = layout_of(*spec)
    if indices is not None:
        check_indices(indices, layout)
        # An operator returns nothing that it was given, nor in other strides than it promised.
        indices = indices.clone(memory_format=torch.contiguous_format)
    step = _steps.quantize_step(latents, weight, layout, indices, backend)
    return step.quantized, step.indices, step.losses, step.losses.clone(), step.counts


def _train_step(
    latents: Tensor,
    weight: Tensor,
    ema_counts: Tensor,
    ema_sums: Tensor,
    epoch_counts: Tensor,
    epoch_skipped: Tensor,
    decay: float,
    epsilon: float,
    unit_codes: bool,
    *rest: Any,
) -> tuple[Tensor, ...]:
    *spec, backend = rest
    state = AverageState(
        ema_counts, ema_sums, epoch_counts, epoch_skipped, decay, epsilon, unit_codes
    )
    step = _steps.train_step(latents, weight, layout_of(*spec), state, backend)
    return step.quantized, step.indices, step.losses, step.counts


def _update_counts(
    counts: Tensor,
    ema_counts: Tensor,
    epoch_counts: Tensor,
    epoch_skipped: Tensor,
    num_rows: int,
    decay: float,
    *spec: Any,
) -> None:
    state = AverageState(ema_counts, None, epoch_counts, epoch_skipped, decay, 1.0)
    _steps.update_counts(counts, num_rows, layout_of(*spec), state)


def _attach_gradients(
    latents: Tensor, weight: Tensor, codes: Tensor, indices: Tensor, losses: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    del latents, weight, indices, rest  # only the gradients need them
    return codes.clone(), losses.clone(), losses.clone()


def _latents_gradient(
    latents: Tensor, codes: Tensor, counts: Tensor, grad: Tensor, grad_losses: Tensor, *rest: Any
) -> Tensor:
    *spec, backend, rotation = rest
    return _gradients.latents_gradient(
        latents, codes, counts, grad, grad_losses, layout_of(*spec), backend, rotation
    )


def _weight_gradient(
    latents: Tensor, codes: Tensor, indices: Tensor, counts: Tensor, grad: Tensor, *rest: Any
) -> Tensor:
    *spec, backend = rest
    return _gradients.weight_gradient(
        latents, codes, indices, counts, grad, layout_of(*spec), backend
    )


_KERNELS = {
    "nearest_codes": _nearest_codes,
    "gather_codes": _gather_codes,
    "scatter_codes": _scatter_codes,
    "accumulate_codes": _accumulate_codes,
    "quantize": _quantize,
    "train_step": _train_step,
    "update_counts": _update_counts,
    "attach_gradients": _attach_gradients,
    "latents_gradient": _latents_gradient,
    "weight_gradient": _weight_gradient,
}
for _name, _schema in _SCHEMAS.items():
    LIBRARY.define(_name + _schema, tags=torch.Tag.pt2_compliant_tag)
    LIBRARY.impl(_name, _KERNELS[_name], "CompositeExplicitAutograd")
