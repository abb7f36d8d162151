"""RaggedVectorQuantizer compiled without a graph break, exported and saved."""

import copy
import io
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.modules import NestedResidualQuantizer, RaggedVectorQuantizer

SIZES, DIMS = (8, 5, 3), (4, 2, 7)


def rows(count: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(count, sum(DIMS), generator=torch.Generator().manual_seed(seed))


def trained(**options: Any) -> RaggedVectorQuantizer:
    quantizer = RaggedVectorQuantizer(SIZES, DIMS, **options)
    quantizer(rows())
    return quantizer


def results(run: Any, quantizer: torch.nn.Module, latents: Tensor) -> list[Any]:
    """Outputs, gradients and state after one step forward and backward."""
    latents = latents.clone().requires_grad_()
    quantizer.zero_grad()
    output = run(latents)
    (output.quantized.float().square().sum() + output.losses.total).backward()
    grads = [parameter.grad for parameter in quantizer.parameters()]
    return [*output[:2], *output.losses, *output.usage, latents.grad, *grads,
            *copy.deepcopy(quantizer.state_dict()).values()]  # fmt: skip


def compiled(quantizer: torch.nn.Module, backend: str = "aot_eager") -> Any:
    torch._dynamo.reset()
    return torch.compile(quantizer, fullgraph=True, backend=backend)


@pytest.mark.parametrize("initialized", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"use_ema": False}, {"rotation_trick": True}, {"backend": "torch"}, {"init": "uniform"}],
    ids=str,
)
def test_compiled_steps_are_those_of_direct_calls(
    options: dict[str, Any], initialized: bool
) -> None:
    direct = trained(**options) if initialized else RaggedVectorQuantizer(SIZES, DIMS, **options)
    twin = copy.deepcopy(direct)
    run = compiled(twin)
    for training, count in ((True, 32), (True, 9), (False, 9), (True, 9)):
        direct.train(training)
        twin.train(training)
        expected = results(direct, direct, rows(count, seed=count))
        torch.testing.assert_close(results(run, twin, rows(count, seed=count)), expected)


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_inductor() -> None:
    direct = trained()
    twin = copy.deepcopy(direct)
    run = compiled(twin, "inductor")
    for _ in range(2):
        expected = results(direct, direct, rows())
        torch.testing.assert_close(results(run, twin, rows()), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_converted_modules_compile(dtype: torch.dtype) -> None:
    direct = trained().to(dtype)
    twin = copy.deepcopy(direct)
    expected = results(direct, direct, rows().to(dtype))
    torch.testing.assert_close(results(compiled(twin), twin, rows().to(dtype)), expected)


@pytest.mark.parametrize("compile_it", [True, False])
def test_autocast_changes_nothing(compile_it: bool) -> None:
    direct = trained()
    twin = copy.deepcopy(direct)
    run = compiled(twin) if compile_it else twin
    expected = results(direct, direct, rows())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results(run, twin, rows())
    torch.testing.assert_close(found, expected)


def test_lists_leading_shapes_and_decode_compile() -> None:
    quantizer = trained().eval()
    run = compiled(quantizer)
    parts = list(rows(12).view(3, 4, -1).split(list(DIMS), dim=-1))
    output, expected = run(parts), quantizer(rows(12))
    assert torch.equal(output.indices.flatten(0, 1), expected.indices)
    decode = torch.compile(quantizer.decode, fullgraph=True, backend="aot_eager")
    assert torch.equal(decode(output.indices).flatten(0, 1), expected.quantized)


def test_compiled_first_step_initialises_as_a_direct_one() -> None:
    direct, twin = (RaggedVectorQuantizer(SIZES, DIMS, seed=4) for _ in range(2))
    run = compiled(twin)
    run(torch.full((4, sum(DIMS)), torch.nan))
    assert not twin.bank.initialized
    for seed in (1, 2):
        run(rows(seed=seed))
        direct(rows(seed=seed))
    for name, value in direct.state_dict().items():
        if name != "bank.epoch_skipped":
            torch.testing.assert_close(twin.state_dict()[name], value)
    assert twin.bank.initialized


@pytest.mark.parametrize("strict", [True, False])
def test_eval_exports_with_any_number_of_rows(strict: bool) -> None:
    quantizer = trained().eval()
    shapes = {"latents": {0: torch.export.Dim("rows")}}
    program = torch.export.export(quantizer, (rows(),), dynamic_shapes=shapes, strict=strict)
    names = [str(node.target) for node in program.graph.nodes]
    assert names.count("spinlock.quantize.default") == 1
    for count in (2, 50):
        output, expected = program.module()(rows(count)), quantizer(rows(count))
        assert torch.equal(output.quantized, expected.quantized)
        assert torch.equal(output.indices, expected.indices)


def test_exported_programs_are_saved_and_loaded() -> None:
    quantizer = trained().eval()
    file = io.BytesIO()
    torch.export.save(torch.export.export(quantizer, (rows(),)), file)
    file.seek(0)
    output = torch.export.load(file).module()(rows())
    assert type(output) is type(quantizer(rows()))
    assert torch.equal(output.indices, quantizer(rows()).indices)


def test_fake_and_meta_tensors_give_shapes() -> None:
    quantizer = trained().to("meta")
    output = quantizer(rows().to("meta"))
    assert output.quantized.is_meta
    assert output.indices.shape == (32, 3)


def test_transforms_of_modules_in_eval_mode() -> None:
    quantizer = trained().eval()
    found = torch.vmap(quantizer)(rows().view(4, 8, -1))
    assert torch.equal(found.quantized.flatten(0, 1), quantizer(rows()).quantized)
    latents = rows().requires_grad_()
    quantizer(latents).losses.total.backward()
    grad = torch.func.grad(lambda x: quantizer(x).losses.total)(rows())
    torch.testing.assert_close(grad, latents.grad)


def nested(**options: Any) -> NestedResidualQuantizer:
    return NestedResidualQuantizer([[8, 4, 4], [6, 5, 3]], [[2, 8, 3], [4, 5, 1]], **options)


@pytest.mark.parametrize("options", [{}, {"use_ema": False}], ids=str)
def test_nested_levels_compile(options: dict[str, Any]) -> None:
    direct = nested(**options)
    direct(rows())
    twin = copy.deepcopy(direct)
    run = compiled(twin)
    for training in (True, False):
        direct.train(training)
        twin.train(training)
        expected = results(direct, direct, rows())
        torch.testing.assert_close(results(run, twin, rows()), expected)
    assert torch.export.export(direct, (rows(),)).module()(rows()).indices.shape == (32, 6)
    grad = torch.func.grad(lambda x: direct(x).losses.total)(rows())
    latents = rows().requires_grad_()
    direct(latents).losses.total.backward()
    torch.testing.assert_close(grad, latents.grad)


def test_nested_levels_are_initialised_before_they_are_compiled() -> None:
    with pytest.raises(InputError, match="expected initialised ones in a traced call"):
        nested()(rows().to("meta"))
    loaded = nested()
    trained = nested()
    trained(rows())
    loaded.load_state_dict(trained.state_dict())
    assert not loaded.bank.may_wait


@pytest.mark.parametrize("use_ema", [True, False])
def test_torch_finds_nothing_wrong_with_the_initialising_operator(use_ema: bool) -> None:
    bank = RaggedVectorQuantizer(SIZES, DIMS, use_ema=use_ema).bank
    state = (bank.weight.detach(), bank.ema_counts, bank.ema_sums, bank.initialized_codebooks)
    operator: Any = torch.ops.spinlock.initialize_codebooks.default
    torch.library.opcheck(operator, (rows(), *state, 0, 99, False, SIZES, DIMS, 4, None))
