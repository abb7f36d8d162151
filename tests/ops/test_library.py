"""The registered operators: torch's own checks, transforms, and equality with direct calls."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.ops import accumulate_codes, gather_codes, nearest_codes, quantize
from spinlock.ops._backend import AverageState
from spinlock.ops.functional import quantize_and_update

LAYOUT = CodebookLayout((5, 3), (2, 4))
SPEC = (LAYOUT.codebook_sizes, LAYOUT.dims, LAYOUT.alignment)
OPS: Any = torch.ops.spinlock


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def latents(rows: int = 8, seed: int = 1) -> Tensor:
    return random(rows, LAYOUT.input_width, seed=seed)


def codebooks() -> Tensor:
    parts = [random(5, 2, seed=2).numpy(), random(3, 4, seed=3).numpy()]
    return torch.from_numpy(LAYOUT.pack_codebooks(parts))


def state() -> AverageState:
    counts = torch.zeros(8, dtype=torch.int64)
    skipped = torch.zeros(2, dtype=torch.int64)
    return AverageState(torch.ones(8), codebooks(), counts, skipped, 0.9, 1e-5)


def calls() -> dict[str, tuple[Any, ...]]:
    x, weight = latents(), codebooks()
    codes, indices, losses, _, counts = OPS.quantize(x, weight, None, *SPEC, None, False)
    averages = state()
    return {
        "nearest_codes": (x, weight, *SPEC, None),
        "gather_codes": (indices, weight.requires_grad_(), *SPEC),
        "scatter_codes": (codes.clone().requires_grad_(), indices, *SPEC),
        "accumulate_codes": (x, indices, *SPEC, None),
        "quantize": (x.clone().requires_grad_(), weight, None, *SPEC, None, False),
        "quantize, chosen": (x, weight, indices, *SPEC, "torch", True),
        "train_step": (x, codebooks(), *averages, *SPEC, None),
        "train_step, torch": (x, codebooks(), *averages, *SPEC, "torch"),
        "update_counts": (counts, averages.ema_counts, *averages[2:4], 8, 0.9, *SPEC),
        "attach_gradients": (
            *(x.clone().requires_grad_(), weight, codes, indices, losses, counts),
            *(*SPEC, None, False),
        ),
        "latents_gradient": (x, codes, counts, random(8, 6), losses, *SPEC, None, True),
        "weight_gradient": (x, codes, indices, counts, losses, *SPEC, None),
    }


@pytest.mark.parametrize("name", list(calls()))
def test_torch_finds_nothing_wrong(name: str) -> None:
    operator = getattr(OPS, name.partition(",")[0]).default
    torch.library.opcheck(operator, calls()[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(calls()))
def test_torch_finds_nothing_wrong_with_columns_one_after_the_other(
    name: str, dtype: torch.dtype
) -> None:
    def turned(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.ndim != 2:
            return value
        value = value.to(dtype) if value.is_floating_point() else value
        return value.detach().t().contiguous().t().requires_grad_(value.requires_grad)

    operator = getattr(OPS, name.partition(",")[0]).default
    torch.library.opcheck(operator, tuple(map(turned, calls()[name])))


def loss(x: Tensor, weight: Tensor, **options: Any) -> Tensor:
    result = quantize(x, weight, LAYOUT, **options)
    factors = torch.tensor([1.0, 2.0])
    value = result.quantized.square().sum() + (result.commitment * factors).sum()
    return value + (result.codebook_loss * factors**2).sum()


def traced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("options", [{}, {"rotation": True}, {"backend": "torch"}])
@pytest.mark.parametrize("learn", [True, False])
def test_traced_gradients_are_those_of_direct_calls(options: dict[str, Any], learn: bool) -> None:
    grads = []
    for run in (loss, traced(loss)):
        x, weight = latents(40).requires_grad_(), codebooks().requires_grad_(learn)
        run(x, weight, **options).backward()
        grads.append([x.grad, weight.grad])
    torch.testing.assert_close(grads[0], grads[1])


def test_gathering_is_linear_twice_over() -> None:
    weight = codebooks().double().requires_grad_()
    indices = nearest_codes(latents(), weight, LAYOUT)
    for gather in (
        lambda w: gather_codes(indices, w, LAYOUT),
        lambda w: OPS.gather_codes(indices, w, *SPEC),
    ):
        assert torch.autograd.gradcheck(gather, weight)
        assert torch.autograd.gradgradcheck(lambda w, gather=gather: gather(w).square(), weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_traced_dtypes(dtype: torch.dtype) -> None:
    x, weight = latents().to(dtype), codebooks()
    direct = quantize(x, weight, LAYOUT)

    @traced
    def run(x: Tensor) -> Any:
        return quantize(x, weight, LAYOUT)

    for ours, theirs in zip(run(x), direct, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def test_every_operation_under_make_fx() -> None:
    x, weight = latents(), codebooks()

    def run(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        indices = nearest_codes(x, weight, LAYOUT)
        counts, sums = accumulate_codes(x, indices, LAYOUT)
        return indices, counts, sums, gather_codes(indices, weight, LAYOUT)

    graph = make_fx(run, tracing_mode="symbolic")(x, weight)
    called = {str(node.target) for node in graph.graph.nodes if "spinlock" in str(node.target)}
    assert len(called) == 3
    for ours, theirs in zip(graph(latents(5), weight), run(latents(5), weight), strict=True):
        assert torch.equal(ours, theirs)


def test_traced_out_buffers() -> None:
    x, weight = latents(), codebooks()
    out = torch.empty(8, 6), torch.empty(8, 2, dtype=torch.int64)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def run(x: Tensor, codes: Tensor, indices: Tensor) -> None:
        quantize(x, weight, LAYOUT, out=(codes, indices))

    run(x, *out)
    expected = quantize(x, weight, LAYOUT)
    assert torch.equal(out[0], expected.quantized)
    assert torch.equal(out[1], expected.indices)


def test_grad_and_jacobian_transforms() -> None:
    x, weight = latents(), codebooks()
    leaf, codes = latents().requires_grad_(), codebooks().requires_grad_()
    expected = torch.autograd.grad(loss(leaf, codes), (leaf, codes))
    found = torch.func.grad(loss, argnums=(0, 1))(x, weight)
    torch.testing.assert_close(found, expected)
    jacobian = torch.func.jacrev(lambda x: quantize(x, weight, LAYOUT).commitment)(x)
    (first,) = torch.autograd.grad(quantize(leaf, weight, LAYOUT).commitment[0], leaf)
    torch.testing.assert_close(jacobian[0], first)
    indices = nearest_codes(x, weight, LAYOUT)
    decoded = torch.func.grad(lambda w: gather_codes(indices, w, LAYOUT).square().sum())(weight)
    (plain,) = torch.autograd.grad(gather_codes(indices, codes, LAYOUT).square().sum(), codes)
    torch.testing.assert_close(decoded, plain)


def test_vmap() -> None:
    batches, weight = latents(12).view(3, 4, -1), codebooks()
    indices = torch.vmap(lambda x: nearest_codes(x, weight, LAYOUT))(batches)
    assert torch.equal(indices.flatten(0, 1), nearest_codes(latents(12), weight, LAYOUT))
    counts, _ = torch.vmap(lambda x, i: accumulate_codes(x, i, LAYOUT))(batches, indices)
    assert torch.equal(counts[1], accumulate_codes(batches[1], indices[1], LAYOUT)[0])
    grads = torch.vmap(torch.func.grad(loss), in_dims=(0, None))(batches, weight)
    torch.testing.assert_close(grads[2], torch.func.grad(loss)(batches[2], weight))
    across = torch.vmap(lambda x: quantize(x, weight, LAYOUT).quantized, in_dims=1)
    turned = batches.transpose(0, 1)
    assert torch.equal(across(turned)[2], quantize(batches[2], weight, LAYOUT).quantized)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own forward mode
def test_what_has_no_formula_says_so() -> None:
    x, weight = latents(), codebooks()
    with pytest.raises(NotImplementedError, match="forward mode AD"):
        torch.func.jvp(lambda x: quantize(x, weight, LAYOUT).quantized, (x,), (x,))
    with pytest.raises(InputError, match=r"expected one differentiation .*, got two; .* detach"):
        torch.func.jacrev(torch.func.grad(loss))(x, weight)
    averages = state()
    with pytest.raises(InputError, match=r"expected a call outside torch.func .* eval\(\)"):
        torch.vmap(lambda x: quantize_and_update(x, weight, LAYOUT, averages).quantized)(x[None])
    learnable = weight.clone().requires_grad_()
    found = quantize(x, learnable, LAYOUT).codebook_loss.sum()
    (grad,) = torch.autograd.grad(found, learnable, create_graph=True)
    with pytest.raises(InputError, match=r"one derivative of the codebook loss .* second one"):
        grad.sum().backward()


def test_a_step_tells_autograd_that_codes_moved() -> None:
    weight, averages = codebooks(), state()
    x = latents().requires_grad_()
    kept = (weight * x.sum()).sum()
    quantize_and_update(latents(), weight, LAYOUT, averages)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()
