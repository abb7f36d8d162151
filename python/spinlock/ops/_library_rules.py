"""What tracers and transforms know of the operators: shapes, gradients, and loops for vmap."""

from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.ops._library import LIBRARY, layout_of
from spinlock.ops._steps import working_dtype

__all__ = ["OPS", "keep_attach", "keep_quantize", "refuse", "step_gradients"]

OPS: Any = torch.ops.spinlock


def _shapes_of_nearest_codes(latents: Tensor, _weight: Tensor, *rest: Any) -> Tensor:
    count = len(rest[0])
    return latents.new_empty((latents.shape[0], count), dtype=torch.int64)


def _shapes_of_gather_codes(indices: Tensor, weight: Tensor, *spec: Any) -> Tensor:
    return weight.new_empty((indices.shape[0], layout_of(*spec).input_width))


def _shapes_of_scatter_codes(grad: Tensor, _indices: Tensor, *spec: Any) -> Tensor:
    return grad.new_empty(layout_of(*spec).weight_size)


def _shapes_of_accumulate_codes(
    latents: Tensor, _indices: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    layout = layout_of(*rest[:3])
    counts = latents.new_empty(layout.total_codes, dtype=torch.float32)
    return counts, latents.new_empty(layout.weight_size, dtype=torch.float32)


def _shapes_of_step(latents: Tensor, weight: Tensor, spec: Any) -> tuple[Tensor, ...]:
    layout, dtype = layout_of(*spec), working_dtype(latents, weight)
    return (
        latents.new_empty(latents.shape, dtype=dtype),
        latents.new_empty((latents.shape[0], layout.num_quantizers), dtype=torch.int64),
        latents.new_empty(layout.num_quantizers, dtype=dtype),
        latents.new_empty(layout.total_codes, dtype=torch.int64),
    )


def _shapes_of_quantize(
    latents: Tensor, weight: Tensor, _indices: Tensor | None, *rest: Any
) -> tuple[Tensor, ...]:
    codes, found, losses, counts = _shapes_of_step(latents, weight, rest[:3])
    return codes, found, losses, torch.empty_like(losses), counts


def _shapes_of_train_step(latents: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return _shapes_of_step(latents, weight, rest[7:10])


def _shapes_of_update_counts(*_args: Any) -> None:
    """Nothing is returned."""


def _shapes_of_attach_gradients(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    codes, losses = args[2], args[4]
    return torch.empty_like(codes), torch.empty_like(losses), torch.empty_like(losses)


def _shapes_of_latents_gradient(latents: Tensor, *_rest: Any) -> Tensor:
    return latents.new_empty(latents.shape)


def _shapes_of_weight_gradient(_latents: Tensor, codes: Tensor, *rest: Any) -> Tensor:
    return codes.new_empty(layout_of(*rest[3:6]).weight_size)


for _name, _shapes in {
    "nearest_codes": _shapes_of_nearest_codes,
    "gather_codes": _shapes_of_gather_codes,
    "scatter_codes": _shapes_of_scatter_codes,
    "accumulate_codes": _shapes_of_accumulate_codes,
    "quantize": _shapes_of_quantize,
    "train_step": _shapes_of_train_step,
    "update_counts": _shapes_of_update_counts,
    "attach_gradients": _shapes_of_attach_gradients,
    "latents_gradient": _shapes_of_latents_gradient,
    "weight_gradient": _shapes_of_weight_gradient,
}.items():
    torch.library.register_fake(f"spinlock::{_name}", _shapes, lib=LIBRARY)


def keep_quantize(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Keeps for the backward pass of ``quantize`` what :func:`step_gradients` takes."""
    latents, weight, _, *ctx.rest = inputs
    codes, indices, _, _, counts = output
    ctx.mark_non_differentiable(indices, counts)
    ctx.weight_dtype = weight.dtype
    ctx.save_for_backward(latents, codes, indices, counts)


def _grad_quantize(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    codes, _, commitment, codebook, _ = grads
    return (*step_gradients(ctx, OPS, codes, commitment, codebook), *[None] * 6)


def keep_attach(ctx: Any, inputs: tuple[Any, ...], **_output: Any) -> None:
    """The same for ``attach_gradients``."""
    latents, weight, codes, indices, _, counts, *ctx.rest = inputs
    ctx.weight_dtype = weight.dtype
    ctx.save_for_backward(latents, codes, indices, counts)


def _grad_attach(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    return (*step_gradients(ctx, OPS, *grads), *[None] * 9)


def step_gradients(
    ctx: Any,
    operators: Any,
    grad_codes: Tensor,
    grad_commitment: Tensor,
    grad_codebook: Tensor,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of latents and weight, each by its operator, where they are asked."""
    latents, codes, indices, counts = ctx.saved_tensors
    *spec, backend, rotation = ctx.rest
    latents_grad = weight_grad = None
    if ctx.needs_input_grad[0]:
        latents_grad = operators.latents_gradient(
            latents, codes, counts, grad_codes, grad_commitment, *spec, backend, rotation
        )
    if ctx.needs_input_grad[1]:
        weight_grad = operators.weight_gradient(
            latents, codes, indices, counts, grad_codebook, *spec, backend
        ).to(ctx.weight_dtype)
    return latents_grad, weight_grad


def _keep_gather(ctx: Any, inputs: tuple[Any, ...], **_output: Any) -> None:
    indices, _, *ctx.spec = inputs
    ctx.save_for_backward(indices)


def _grad_gather(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (indices,) = ctx.saved_tensors
    return None, OPS.scatter_codes(grad, indices, *ctx.spec), None, None, None


def _keep_scatter(ctx: Any, inputs: tuple[Any, ...], **_output: Any) -> None:
    _, indices, *ctx.spec = inputs
    ctx.save_for_backward(indices)


def _grad_scatter(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (indices,) = ctx.saved_tensors
    return OPS.gather_codes(indices, grad, *ctx.spec), None, None, None, None


def _mark_constant(ctx: Any, output: Any, **_inputs: Any) -> None:
    for found in output if isinstance(output, tuple) else (output,):
        ctx.mark_non_differentiable(found)


def _no_gradient(ctx: Any, *_grads: Tensor) -> tuple[None, ...]:
    return (None,) * len(ctx.needs_input_grad)


def refuse(*_: Any) -> NoReturn:
    """The backward pass of a backward pass."""
    raise InputError(
        "gradient of a gradient: expected one differentiation of a quantizer, got two; the codes "
        "chosen are piecewise constant: detach the quantizer's part of the inner gradient"
    )


def _keep_for_refusal(*_args: Any, **_named: Any) -> None:
    """Nothing is needed to refuse."""


for _name, _backward, _keep in (
    ("quantize", _grad_quantize, keep_quantize),
    ("attach_gradients", _grad_attach, keep_attach),
    ("gather_codes", _grad_gather, _keep_gather),
    ("nearest_codes", _no_gradient, _mark_constant),
    ("accumulate_codes", _no_gradient, _mark_constant),
    ("scatter_codes", _grad_scatter, _keep_scatter),
    ("latents_gradient", refuse, _keep_for_refusal),
    ("weight_gradient", refuse, _keep_for_refusal),
):
    torch.library.register_autograd(
        f"spinlock::{_name}", cast(Any, _backward), setup_context=_keep, lib=LIBRARY
    )


def _looped(name: str) -> Any:
    """A vmap rule: the operator on one entry after the other."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        def entry(position: int) -> list[Any]:
            return [
                arg.select(dim, position) if isinstance(dim, int) else arg
                for arg, dim in zip(args, in_dims, strict=True)
            ]

        results = [getattr(OPS, name)(*entry(position)) for position in range(info.batch_size)]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return tuple(map(torch.stack, zip(*results, strict=True))), (0,) * len(results[0])

    return rule


for _name in ("nearest_codes", "gather_codes", "scatter_codes", "accumulate_codes", "quantize",
              "attach_gradients", "latents_gradient", "weight_gradient"):  # fmt: skip
    torch.library.register_vmap(f"spinlock::{_name}", _looped(_name), lib=LIBRARY)
