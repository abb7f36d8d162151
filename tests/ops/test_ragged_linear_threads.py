"""Ragged linear maps on every instruction set, by any number of threads."""

import pytest
import torch
from torch import Tensor

from linear_problems import linear_gradients, linear_problem
from spinlock import _C
from spinlock.ops._cpp import instruction_sets
from spinlock.ops.ragged_linear import plain_ragged_linear, ragged_linear


@pytest.mark.parametrize("isa", instruction_sets())
@pytest.mark.parametrize("threads", [1, 3])
def test_every_instruction_set_and_number_of_threads(isa: str, threads: int) -> None:
    ins, outs, rows = [5, 33, 1], [49, 2, 16], 261
    problem = linear_problem(ins, outs, rows, 1, transposed=False)
    problem["bias"][:] *= 3.0
    x, weight, bias, grad = (problem[n] for n in ("x", "weight", "bias", "grad"))
    shape = _C.RaggedLinear(ins, outs, False)
    poison = float("nan")
    output = torch.full((rows, sum(outs)), poison)
    to_x, to_weight = torch.full_like(x, poison), torch.full_like(weight, poison)
    to_bias = torch.full_like(bias, poison)

    def span(tensor: Tensor) -> tuple[int, int]:
        return tensor.data_ptr(), tensor.numel()

    def matrix(tensor: Tensor) -> tuple[int, int, int, int]:
        return tensor.data_ptr(), *tensor.shape, tensor.stride(0)

    run = {"threads": threads, "isa": isa}
    shape.forward(
        matrix(x), span(weight), bias=span(bias), positive=True, output=span(output), **run
    )
    shape.backward(
        matrix(x),
        span(weight),
        output=span(output),
        grad=matrix(grad),
        grad_input=span(to_x),
        grad_weight=span(to_weight),
        grad_bias=span(to_bias),
        **run,
    )
    wide = [each.double() for each in (x, weight, bias)]
    truth = linear_gradients(plain_ragged_linear, wide, grad.double(), ins, outs, relu=True)
    for ours, exact in zip((output, to_x, to_weight, to_bias), truth, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-4)


def test_threads_change_no_bit() -> None:
    ins, outs = [40, 7], [50, 90]
    problem = linear_problem(ins, outs, 1000, 3, transposed=True)
    tensors = [problem["x"], problem["weight"], problem["bias"]]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(
                linear_gradients(
                    ragged_linear, tensors, problem["grad"], ins, outs, relu=True, transposed=True
                )
            )
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], other, strict=True))


@pytest.mark.parametrize("transposed", [False, True])
def test_weights_larger_than_a_cache(transposed: bool) -> None:
    """Their gradients are cut into pieces, at other places by more threads."""
    ins, outs, rows = [5, 333, 40], [9, 250, 17], 150
    problem = linear_problem(ins, outs, rows, 6, transposed=transposed)
    tensors = [problem["x"], problem["weight"], problem["bias"]]
    options = {"relu": False, "transposed": transposed}
    wide = [each.double() for each in tensors]
    truth = linear_gradients(
        plain_ragged_linear, wide, problem["grad"].double(), ins, outs, **options
    )
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(
                linear_gradients(ragged_linear, tensors, problem["grad"], ins, outs, **options)
            )
    finally:
        torch.set_num_threads(before)
    for each in found:
        for ours, exact, first in zip(each, truth, found[0], strict=True):
            torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-4)
            assert torch.equal(ours, first)


@pytest.mark.parametrize("threads", [0, -1])
def test_no_number_of_threads_is_one(threads: int) -> None:
    x, weight, output = torch.randn(70, 3), torch.randn(1, 3, 4), torch.empty(70, 4)
    shape = _C.RaggedLinear([3], [4], False)
    shape.forward(x, weight, output=output, threads=threads)
    torch.testing.assert_close(output, x @ weight[0])
    to_x = torch.empty_like(x)
    shape.backward(x, weight, grad=output, grad_input=to_x, threads=threads)
    torch.testing.assert_close(to_x, output @ weight[0].T)


@pytest.mark.parametrize("threads", [1, 3, 40])
@pytest.mark.parametrize("relu", [False, True])
def test_more_threads_than_columns_share_the_rows(threads: int, relu: bool) -> None:
    ins, outs, rows = [3, 9], [20, 5], 500
    problem = linear_problem(ins, outs, rows, 8, transposed=False)
    tensors = [problem["x"], problem["weight"], problem["bias"]]
    shape = _C.RaggedLinear(ins, outs, False)
    output = torch.empty(rows, sum(outs))
    to_x, to_weight, to_bias = (torch.full_like(each, torch.nan) for each in tensors)
    x, weight, bias = tensors
    shape.forward(x, weight, bias=bias, positive=relu, output=output, threads=threads)
    shape.backward(
        x,
        weight,
        output=output if relu else None,
        grad=problem["grad"],
        grad_input=to_x,
        grad_weight=to_weight,
        grad_bias=to_bias,
        threads=threads,
    )
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = linear_gradients(ragged_linear, tensors, problem["grad"], ins, outs, relu=relu)
    finally:
        torch.set_num_threads(before)
    for found, expected in zip((output, to_x, to_weight, to_bias), alone, strict=True):
        assert torch.equal(found, expected)
