"""Ragged layer norms: the C++ core against torch's own in float64, on fresh ragged widths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spinlock import _C
from spinlock.errors import InputError, LayoutError
from spinlock.ops._cpp import instruction_sets
from spinlock.ops.ragged_layer_norm import plain_ragged_layer_norm, ragged_layer_norm
from spinlock.ops.ragged_linear import fits_core


def _problem(widths: list[int], rows: int, seed: int) -> tuple[list[Tensor], Tensor]:
    draw = torch.Generator().manual_seed(seed)
    affine = (len(widths), 1, max(widths))
    shapes = [(rows, sum(widths)), affine, affine, (rows, sum(widths))]
    *tensors, grad = [torch.randn(shape, generator=draw) for shape in shapes]
    return tensors, grad


def _gradients(function, tensors, grad, widths, **options):
    leaves = [each.detach().requires_grad_() for each in tensors]
    result = function(*leaves, widths, **options)
    return [result.detach(), *torch.autograd.grad(result, leaves, grad)]


def _assert_near(found, truth, rows, **tolerances):
    for ours, exact, terms in zip(found, truth, (1, 1, rows, rows), strict=True):
        near = {"rtol": 1e-4, "atol": 2e-5 * terms**0.5, **tolerances}
        torch.testing.assert_close(ours.double(), exact, **near)


@settings(max_examples=60, deadline=None)
@given(
    widths=st.lists(st.integers(1, 70), min_size=1, max_size=5),
    rows=st.integers(1, 150),
    offset=st.sampled_from([0.0, 10.0]),
    seed=st.integers(0, 2**31),
)
def test_the_core_is_as_exact_as_float32_allows(widths, rows, offset, seed):
    tensors, grad = _problem(widths, rows, seed)
    tensors[0] += offset
    assert fits_core(*tensors)
    # A large epsilon: segments of one or two columns would divide by what rounding has left.
    found = _gradients(ragged_layer_norm, tensors, grad, widths, epsilon=0.1)
    wide = [each.double() for each in tensors]
    truth = _gradients(plain_ragged_layer_norm, wide, grad.double(), widths, epsilon=0.1)
    _assert_near(found, truth, rows, **({"atol": 2e-4 * rows**0.5} if offset else {}))


@pytest.mark.parametrize("isa", instruction_sets())
@pytest.mark.parametrize("threads", [1, 3])
def test_every_instruction_set_and_number_of_threads(isa: str, threads: int) -> None:
    widths, rows = [5, 33, 1, 16], 131
    (x, weight, bias), grad = _problem(widths, rows, 1)
    shape = _C.RaggedNorm(widths)
    output, to_x = torch.full_like(x, torch.nan), torch.full_like(x, torch.nan)
    to_weight, to_bias = torch.full_like(weight, torch.nan), torch.full_like(bias, torch.nan)
    moments = torch.full((rows, 2 * len(widths)), torch.nan)
    run = {"threads": threads, "isa": isa}
    shape.forward(x, weight, bias=bias, epsilon=0.1, output=output, moments=moments, **run)
    shape.backward(
        x,
        moments,
        weight=weight,
        grad=grad,
        grad_input=to_x,
        grad_weight=to_weight,
        grad_bias=to_bias,
        **run,
    )
    wide = [each.double() for each in (x, weight, bias)]
    truth = _gradients(plain_ragged_layer_norm, wide, grad.double(), widths, epsilon=0.1)
    _assert_near((output, to_x, to_weight, to_bias), truth, rows)
    means = torch.stack([part.mean(1) for part in torch.split(x, widths, 1)], 1)
    torch.testing.assert_close(moments[:, ::2], means, rtol=1e-5, atol=1e-6)


def test_threads_change_no_bit() -> None:
    widths = [40, 7, 64, 3]
    tensors, grad = _problem(widths, 1000, 3)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(_gradients(ragged_layer_norm, tensors, grad, widths))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], other, strict=True))


def test_rows_and_gradients_may_lie_apart_and_be_none() -> None:
    widths = (3, 2)
    (_, weight, bias), _ = _problem(list(widths), 1, 5)
    wide = torch.randn(10, 9)
    for x in (
        wide[:, 2:7],
        wide.t()[:5].t(),
        wide[::2, :5],
        wide[:0, :5],
        wide[:1, :5].expand(6, 5),
    ):
        for grad in (torch.ones(1, 1).expand(x.shape), torch.randn(1, 5).expand(x.shape)):
            tensors = [x, weight, bias]
            found = _gradients(ragged_layer_norm, tensors, grad, widths)
            truth = _gradients(plain_ragged_layer_norm, tensors, grad, widths)
            for ours, theirs in zip(found, truth, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_weights_in_the_padding_are_not_looked_at() -> None:
    weight = torch.full((2, 1, 4), torch.nan)
    bias = weight.clone()
    for tensor in (weight, bias):
        tensor[0, 0, :2], tensor[1] = 1.0, 2.0
        tensor.requires_grad_()
    x = torch.tensor([[1.0, 3.0, 1.0, 1.0, 1.0, 1.0]])
    found = ragged_layer_norm(x, weight, bias, (2, 4), epsilon=0.0)
    assert found[0, :2].tolist() == [0.0, 2.0]
    ragged_layer_norm(x, weight, bias, (2, 4)).sum().backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert weight.grad[0, 0, 2:].tolist() == [0.0, 0.0]
    assert bias.grad[0, 0].tolist() == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("value", [10959.0, 1e5, 1383.6, 141.1, -1e30])
def test_segments_of_one_value_have_no_deviation(value: float) -> None:
    """However its multiples round: whatever is left of it would be divided by almost nothing."""
    widths = (7, 100, 1)
    ones = torch.ones(3, 1, 100)
    found = ragged_layer_norm(torch.full((2, 108), value), ones, ones, widths)
    assert found.unique().tolist() == [1.0]


def test_a_row_that_is_not_finite_stays_alone() -> None:
    (x, weight, bias), _ = _problem([3, 9], 4, 7)
    x[1, 4], x[2, 0] = torch.nan, torch.inf
    found = ragged_layer_norm(x, weight, bias, (3, 9))
    assert found.isnan().sum(1).tolist() == [0, 9, 3, 0]


def test_only_what_is_wanted_has_a_gradient() -> None:
    (x, weight, bias), _ = _problem([3, 9], 4, 8)
    weight.requires_grad_()
    ragged_layer_norm(x, weight, bias, (3, 9)).sum().backward()
    assert weight.grad is not None
    assert x.grad is None
    assert bias.grad is None


def test_a_second_derivative_is_refused() -> None:
    (x, weight, bias), _ = _problem([3, 9], 4, 9)
    x.requires_grad_()
    result = ragged_layer_norm(x, weight, bias, (3, 9)).square().sum()
    (gradient,) = torch.autograd.grad(result, x, create_graph=True)
    with pytest.raises(InputError, match="a ragged layer norm"):
        gradient.sum().backward()


def test_traced_transformed_and_wide_calls_take_the_plain_form() -> None:
    (x, weight, bias), _ = _problem([3, 2], 4, 10)

    def call(rows: Tensor) -> Tensor:
        return ragged_layer_norm(rows, weight.to(rows), bias.to(rows), (3, 2))

    expected = call(x)
    torch.testing.assert_close(torch.func.vmap(call)(x.unsqueeze(1)).squeeze(1), expected)
    traced = torch.compile(call, fullgraph=True, backend="eager")
    torch.testing.assert_close(traced(x), expected)
    torch.testing.assert_close(call(x.double()).float(), expected)
    assert torch.autograd.gradcheck(call, x.double().requires_grad_())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(4, 6)}, r"x: expected shape \[4, 5\], got \[4, 6\]"),
        ({"x": torch.zeros(5)}, r"x: expected shape \[rows, 5\], got \[5\]"),
        ({"weight": torch.zeros(2, 3)}, r"weight: expected shape \[2, 1, 3\]"),
        ({"bias": torch.zeros(2, 1, 2)}, r"bias: expected shape \[2, 1, 3\]"),
        ({"widths": (5, 0)}, "widths: expected one per segment"),
        ({"widths": ()}, "widths: expected one per segment"),
    ],
)
def test_calls_that_do_not_fit_are_errors(change: dict, message: str) -> None:
    call = {
        "x": torch.zeros(4, 5),
        "weight": torch.zeros(2, 1, 3),
        "bias": torch.zeros(2, 1, 3),
        "widths": (3, 2),
    }
    with pytest.raises(InputError, match=message):
        ragged_layer_norm(**{**call, **change})


def test_the_core_refuses_sizes_that_do_not_fit() -> None:
    for widths, message in (([], "one or more"), ([3, 0], "below 1"), ([2**62, 2], "at most")):
        with pytest.raises(LayoutError, match=message):
            _C.RaggedNorm(widths)
    shape = _C.RaggedNorm([2, 3])
    x, affine = torch.zeros(4, 5), torch.zeros(6)
    with pytest.raises(LayoutError, match="moments: expected 16 elements, got 15"):
        shape.forward(
            x, affine, bias=affine, epsilon=0.1, output=torch.zeros(20), moments=torch.zeros(15)
        )
