"""Random ragged linear maps, and their results with gradients."""

import torch
from torch import Tensor


def linear_problem(
    ins: list[int], outs: list[int], rows: int, seed: int, *, transposed: bool
) -> dict[str, Tensor]:
    """Tensors of random maps, by the names of the arguments they are for."""
    draw = torch.Generator().manual_seed(seed)
    sides = (max(outs), max(ins)) if transposed else (max(ins), max(outs))
    return {
        "x": torch.randn(rows, sum(ins), generator=draw),
        "weight": torch.randn(len(ins), *sides, generator=draw),
        "bias": torch.randn(len(ins), 1, max(outs), generator=draw),
        "addend": torch.randn(rows, sum(outs), generator=draw),
        "grad": torch.randn(rows, sum(outs), generator=draw),
    }


def linear_gradients(function, tensors, grad, *widths, **options):
    """The result, and the gradients of input, weight, and bias or addend."""
    leaves = [each.detach().requires_grad_() for each in tensors]
    x, weight, other = leaves
    bias, addend = (None, other) if other.shape == grad.shape else (other, None)
    result = function(x, weight, bias, *widths, addend=addend, **options)
    return [result.detach(), *torch.autograd.grad(result, leaves, grad)]
