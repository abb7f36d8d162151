"""Ragged linear maps: the C++ core against plain products in float64, on fresh ragged shapes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from linear_problems import linear_gradients, linear_problem
from spinlock import _C
from spinlock.errors import InputError, LayoutError
from spinlock.ops.ragged_linear import fits_core, plain_ragged_linear, ragged_linear

WIDTHS = st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(
    widths=WIDTHS,
    rows=st.integers(1, 300),
    relu=st.booleans(),
    transposed=st.booleans(),
    added=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_the_core_is_as_exact_as_float32_allows(widths, rows, relu, transposed, added, seed):
    ins, outs = [list(each) for each in zip(*widths, strict=True)]
    problem = linear_problem(ins, outs, rows, seed, transposed=transposed)
    tensors = [problem["x"], problem["weight"], problem["addend" if added else "bias"]]
    assert fits_core(*tensors)
    options = {"relu": relu, "transposed": transposed}
    found = linear_gradients(ragged_linear, tensors, problem["grad"], ins, outs, **options)
    wide = [each.double() for each in tensors]
    truth = linear_gradients(
        plain_ragged_linear, wide, problem["grad"].double(), ins, outs, **options
    )
    if relu:  # where the sum is nearly 0 its sign hangs on rounding: no such gradient is judged
        unsure = truth[0].abs().where(truth[0] > 0, 1.0).min() < 1e-4
        found, truth = (found[:1], truth[:1]) if unsure else (found, truth)
    sizes = [70.0, 70.0, float(rows), float(rows)]
    for ours, exact, terms in zip(found, truth, sizes, strict=False):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=4e-6 * terms**0.5)


def test_rows_may_lie_apart_and_be_none() -> None:
    weight, bias = torch.randn(2, 3, 4), torch.randn(2, 1, 4)
    wide = torch.randn(10, 9)
    for x in (wide[:, 2:7], wide.t()[:5].t(), wide[::2, :5], wide[:0, :5]):
        found = ragged_linear(x, weight, bias, (3, 2), (4, 1))
        torch.testing.assert_close(found, plain_ragged_linear(x, weight, bias, (3, 2), (4, 1)))


@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_may_be_expanded(rows: int, transposed: bool) -> None:
    """Of sums over all, over rows and over columns: strides of 0."""
    ins, outs = [5, 40], [70, 3]
    problem = linear_problem(ins, outs, rows, 4, transposed=transposed)
    tensors = [problem["x"], problem["weight"], problem["bias"]]
    ones = torch.ones(1, 1)
    row, column = torch.randn(1, sum(outs)), torch.randn(rows, 1)
    for grad in (ones, row, column):
        wide = grad.expand(rows, sum(outs))
        options = {"relu": True, "transposed": transposed}
        found = linear_gradients(ragged_linear, tensors, wide, ins, outs, **options)
        truth = linear_gradients(plain_ragged_linear, tensors, wide, ins, outs, **options)
        for ours, theirs in zip(found, truth, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_rows_may_be_one_row_expanded() -> None:
    weight = torch.randn(1, 3, 4)
    x = torch.randn(1, 3).expand(6, 3)
    found = ragged_linear(x, weight, None, (3,), (4,))
    torch.testing.assert_close(found, plain_ragged_linear(x, weight, None, (3,), (4,)))


def test_weights_in_the_padding_are_not_looked_at() -> None:
    weight = torch.full((2, 3, 4), float("nan"))
    weight[0, :3, :2], weight[1, :1, :4] = 1.0, 2.0
    weight.requires_grad_()
    found = ragged_linear(torch.ones(2, 4), weight, None, (3, 1), (2, 4))
    assert found.tolist() == [[3.0, 3.0, 2.0, 2.0, 2.0, 2.0]] * 2
    found.sum().backward()
    assert weight.grad is not None
    assert weight.grad[0].sum() == 12.0
    assert weight.grad[1].sum() == 8.0


def test_nan_is_kept_by_relu_and_infinity_by_sums() -> None:
    x = torch.tensor([[float("nan")], [float("inf")], [-1.0]])
    found = ragged_linear(x, torch.ones(1, 1, 1), None, (1,), (1,), relu=True)
    assert found[0].isnan().all()
    assert found[1:].tolist() == [[float("inf")], [0.0]]


def test_traced_transformed_and_wide_calls_take_the_plain_form() -> None:
    x, weight = torch.randn(4, 3), torch.randn(1, 3, 2)

    def call(rows: Tensor) -> Tensor:
        return ragged_linear(rows, weight.to(rows), None, (3,), (2,))

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
        ({"weight": torch.zeros(2, 3, 3)}, r"weight: expected shape \[2, 3, 4\]"),
        ({"bias": torch.zeros(2, 4)}, r"bias: expected shape \[2, 1, 4\]"),
        ({"addend": torch.zeros(4, 4)}, r"addend: expected shape \[4, 5\]"),
        ({"addend": torch.zeros(4, 5)}, "bias and addend: expected one of them"),
        ({"in_widths": (5, 0)}, "in_widths and out_widths: expected one of each"),
    ],
)
def test_calls_that_do_not_fit_are_errors(change: dict, message: str) -> None:
    call = {
        "x": torch.zeros(4, 5),
        "weight": torch.zeros(2, 3, 4),
        "bias": torch.zeros(2, 1, 4),
        "in_widths": (3, 2),
        "out_widths": (4, 1),
    }
    with pytest.raises(InputError, match=message):
        ragged_linear(**{**call, **change})


def test_sizes_that_do_not_fit_are_refused() -> None:
    for transposed in (False, True):
        for ins, outs in (([2**40], [2**40]), ([2**62, 2**62], [1, 1]), ([2**60], [1])):
            with pytest.raises(LayoutError, match="expected weights of at most"):
                _C.RaggedLinear(ins, outs, transposed)


def test_without_rows_weights_are_not_laid_out_again() -> None:
    """Nor could they be: they are 4 TiB of one element."""
    weight = torch.zeros(1).as_strided((1, 2**40, 1), (0, 0, 0))
    shape = _C.RaggedLinear([2**40], [1], False)
    rows, grad = torch.empty(0, 2**40), torch.empty(0, 1)
    address = weight.data_ptr(), 2**40
    shape.forward(rows, address, output=grad)
    shape.backward(rows, address, grad=grad, grad_input=rows)


def test_the_core_refuses_memory_that_is_too_small() -> None:
    with pytest.raises(LayoutError, match="one of each per group"):
        _C.RaggedLinear([1, 2], [1], False)
    shape = _C.RaggedLinear([2], [3], False)
    x, weight, output = torch.zeros(4, 2), torch.zeros(6), torch.zeros(11)
    with pytest.raises(LayoutError, match="output: expected 12 elements, got 11"):
        shape.forward(
            (x.data_ptr(), 4, 2, 2),
            (weight.data_ptr(), 6),
            output=(output.data_ptr(), 11),
        )
    with pytest.raises(LayoutError, match=r"input: expected \[4, 2\] of rows"):
        shape.forward(
            (x.data_ptr(), 4, 3, 3), (weight.data_ptr(), 6), output=(output.data_ptr(), 12)
        )


def test_a_gradient_that_passes_is_nobodys_memory() -> None:
    """Of two addends that are leaves, and of the caller, whom autograd would add to in place."""
    x, weight, grad = torch.randn(5, 3), torch.randn(1, 3, 4), torch.ones(5, 4)
    first, second = (torch.zeros(5, 4, requires_grad=True) for _ in range(2))
    for _ in range(2):
        parts = [ragged_linear(x, weight, None, (3,), (4,), addend=a) for a in (first, second)]
        (parts[0] + parts[1]).backward(grad)
    for addend in (first, second):
        assert addend.grad is not None
        assert addend.grad.unique().tolist() == [2.0]
    assert grad.unique().tolist() == [1.0]


def test_tensors_are_looked_at_before_sizes_are_added_up() -> None:
    huge = (2**62, 2**62)
    with pytest.raises(InputError, match="x: expected shape"):
        ragged_linear(torch.zeros(2, 3), torch.zeros(3, 16, 16), None, huge, (1, 1))
