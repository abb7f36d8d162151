"""Views that negate lazily, as of ``z.conj().imag``: memory holds the values without the sign."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.modules import NestedResidualQuantizer
from spinlock.ops import _cpp, accumulate_codes, nearest_codes, quantize
from spinlock.ops.ragged_linear import plain_ragged_linear, ragged_linear

LAYOUT = CodebookLayout((9, 4), (5, 3))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def negated(values: Tensor) -> Tensor:
    """The same values, as a view of their negatives."""
    view = torch._neg_view(-values)
    assert view.is_neg()
    return view


def imaginary(values: Tensor) -> Tensor:
    """The same values, every other element of complex memory."""
    return torch.complex(torch.zeros_like(values), -values).conj().imag


forms = pytest.mark.parametrize("form", [negated, imaginary])


@forms
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lookups_and_statistics(form: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    x, weight = normal(30, 8), normal(LAYOUT.weight_size, seed=1)
    rows, codes = form(x), form(weight)
    if dtype is not torch.float32:
        x, weight = x.to(dtype), weight.to(dtype)
        rows, codes = negated(x), negated(weight)
    expected = quantize(x, weight, LAYOUT, backend="cpp")
    for ours, theirs in zip(quantize(rows, codes, LAYOUT, backend="cpp"), expected, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(nearest_codes(rows, codes, LAYOUT, backend="cpp"), expected.indices)
    indices = torch._neg_view(-expected.indices)
    found = accumulate_codes(rows, indices, LAYOUT, backend="cpp")
    for ours, theirs in zip(found, accumulate_codes(x, expected.indices, LAYOUT), strict=True):
        assert torch.equal(ours, theirs)


@forms
def test_gradients(form: Callable[[Tensor], Tensor]) -> None:
    x, weight = normal(30, 8), normal(LAYOUT.weight_size, seed=1)
    step = _cpp.quantize(x, weight, LAYOUT)
    grad, losses = normal(30, 8, seed=2), normal(2, seed=3)
    expected = _cpp.backward(x, step.quantized, step.counts, grad, losses, LAYOUT)
    given = form(step.quantized), step.counts, form(grad), form(losses)
    assert torch.equal(_cpp.backward(form(x), *given, LAYOUT), expected)


@forms
def test_ragged_linear(form: Callable[[Tensor], Tensor]) -> None:
    tensors = [normal(9, 5, seed=1), normal(2, 3, 4, seed=2), normal(2, 1, 4, seed=3)]
    grad = normal(9, 5, seed=4)
    results = []
    for function, way in ((ragged_linear, form), (plain_ragged_linear, torch.clone)):
        leaves = [each.clone().requires_grad_() for each in tensors]
        x, weight, bias = (way(each) for each in leaves)
        result = function(x, weight, bias, (3, 2), (4, 1), relu=True)
        results.append([result, *torch.autograd.grad(result, leaves, way(grad))])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@forms
def test_nested_levels(form: Callable[[Tensor], Tensor]) -> None:
    quantizer = NestedResidualQuantizer([[8, 4]], [[3, 5]], seed=1).eval()
    quantizer.initialize_from(normal(64, 5))
    x = normal(20, 5, seed=1)
    results = []
    for way in (form, torch.clone):
        rows = x.clone().requires_grad_()
        output = quantizer(way(rows))
        losses = output.losses.commitment
        grads = way(normal(20, 5, seed=2)), way(normal(2, seed=3))
        found = torch.autograd.grad([output.quantized, losses], rows, grads)
        results.append([output.quantized, output.indices, losses, *found])
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_what_changes_in_place_holds_its_own_signs() -> None:
    x, weight = normal(30, 8), normal(LAYOUT.weight_size, seed=1)
    state = torch.ones(13), weight.clone(), None, None, 0.9, 1e-5
    with pytest.raises(InputError, match=r"weight: expected memory that holds the codes"):
        _cpp.train_step(x, negated(weight), LAYOUT, *state)
    out = negated(torch.zeros(30, 8)), torch.zeros(30, 2, dtype=torch.int64)
    with pytest.raises(InputError, match=r"out\[0\]: expected memory that holds the values"):
        quantize(x, weight, LAYOUT, out=out)
