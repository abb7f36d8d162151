"""Drop-in quantizers under autocast, torch.func, channels-last memory and compiled masks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.compat import vector_quantize_pytorch as compat
from spinlock.errors import InputError
from spinlock.modules import GroupedResidualVQ, ResidualVQ, Shapes, Update, VectorQuantize

UNIFORM = Update(init="uniform")
FIRST = Shapes(channels_first=True)
LEVELS: dict[str, Any] = {"dim": 8, "codebook_size": 16, "num_quantizers": 3}
NATIVE: dict[str, Any] = {
    "vq": lambda: VectorQuantize(8, 16, update=UNIFORM),
    "heads": lambda: VectorQuantize(8, 16, heads=2, update=UNIFORM),
    "residual": lambda: ResidualVQ(8, 16, 3, update=UNIFORM),
    "grouped": lambda: GroupedResidualVQ(8, 16, 3, groups=2, update=UNIFORM),
}
COMPAT: dict[str, Any] = {
    "compat": lambda: compat.VectorQuantize(8, 16),
    "compat residual": lambda: compat.ResidualVQ(**LEVELS),
    "compat grouped": lambda: compat.GroupedResidualVQ(**LEVELS, groups=2),
}
ALL = {**NATIVE, **COMPAT}


def rows(*shape: int) -> Tensor:
    return torch.randn(shape or (4, 9, 8), generator=torch.Generator().manual_seed(0))


def total(output: Any) -> Tensor:
    value: Tensor = output[2].sum() if isinstance(output[2], Tensor) else output.losses.total
    return value


@pytest.mark.parametrize("name", ALL)
def test_autocast_changes_nothing(name: str) -> None:
    direct = ALL[name]()
    twin = copy.deepcopy(direct)
    expected = direct(rows())
    with torch.autocast("cpu", torch.bfloat16):
        found = twin(rows())
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert torch.equal(total(found), total(expected))
    for key, value in direct.state_dict().items():
        assert torch.equal(twin.state_dict()[key], value), key


@pytest.mark.parametrize("name", NATIVE)
def test_gradients_by_torch_func(name: str) -> None:
    module = NATIVE[name]().eval()

    def objective(x: Tensor) -> Tensor:
        output = module(x)
        value: Tensor = output.quantized.square().sum() + output.losses.total
        return value

    x = rows().requires_grad_()
    (expected,) = torch.autograd.grad(objective(x), x)
    torch.testing.assert_close(torch.func.grad(objective)(rows()), expected)
    per_sequence = torch.func.vmap(lambda each: module(each).indices)(rows())
    assert torch.equal(per_sequence, module(rows()).indices)


@pytest.mark.parametrize("name", ALL)
def test_functional_calls_and_refused_training_steps(name: str) -> None:
    module = ALL[name]()
    with pytest.raises(InputError, match=r"outside torch\.func transforms"):
        torch.func.grad(lambda x: module(x)[0].sum())(rows())
    module.eval()
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    found, expected = torch.func.functional_call(module, state, (rows(),)), module(rows())
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: VectorQuantize(8, 16, update=UNIFORM, shapes=FIRST),
        lambda: ResidualVQ(8, 16, 2, update=UNIFORM, shapes=FIRST),
        lambda: GroupedResidualVQ(8, 16, 2, groups=2, update=UNIFORM, shapes=FIRST),
        lambda: compat.VectorQuantize(8, 16, accept_image_fmap=True),
        lambda: compat.ResidualVQ(**LEVELS, accept_image_fmap=True),
    ],
)
def test_channels_last_images(make: Any) -> None:
    module, x = make(), rows(2, 8, 5, 3)
    twin = copy.deepcopy(module)
    expected, found = module(x), twin(x.to(memory_format=torch.channels_last))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    for key, value in module.state_dict().items():
        assert torch.equal(twin.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["heads", "grouped", "compat", "compat residual"])
def test_compiled_steps_take_masks(name: str) -> None:
    direct = ALL[name]()
    twin = copy.deepcopy(direct)
    mask = torch.rand(4, 9, generator=torch.Generator().manual_seed(1)) > 0.3
    torch._dynamo.reset()
    run = torch.compile(twin, fullgraph=True, backend="aot_eager")
    results = []
    for call in (direct, run):
        x = rows().requires_grad_()
        output = call(x, mask=mask)
        (output[0].square().sum() + total(output)).backward()
        results.append([output[0], output[1], total(output), x.grad])
    torch.testing.assert_close(results[1], results[0])
    for key, value in direct.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[key], value, msg=key)
