"""What authors of modules expect of its state: loading, moving, converting, freezing, own codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from module_inputs import COSINE, UNIFORM, rows
from spinlock import (
    GroupedResidualVQ,
    NestedResidualQuantizer,
    RaggedVectorQuantizer,
    Regularizers,
    ResidualVQ,
    Update,
    VectorQuantize,
)
from spinlock.compat import vector_quantize_pytorch as compat
from spinlock.errors import InputError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            lambda: RaggedVectorQuantizer([4, 8], [2, 2]),
            lambda: RaggedVectorQuantizer([8, 4], [2, 2]),
        ),
        (lambda: VectorQuantize(29, 16), lambda: VectorQuantize(32, 16)),
        (
            lambda: NestedResidualQuantizer([[8, 16]], [[4, 4]]),
            lambda: NestedResidualQuantizer([[16, 8]], [[4, 4]]),
        ),
    ],
)
def test_other_shapes_of_the_same_size_do_not_load(
    one: Callable[[], nn.Module], other: Callable[[], nn.Module]
) -> None:
    module = one()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"codebook_shapes: expected codebook sizes .* build"):
        module.load_state_dict(other().state_dict())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_state_without_shapes_still_loads() -> None:
    saved = VectorQuantize(8, 16, seed=1)
    saved(rows())
    state = {k: v for k, v in saved.state_dict().items() if not k.endswith("codebook_shapes")}
    module = VectorQuantize(8, 16)
    assert str(module.load_state_dict(state)) == "<All keys matched successfully>"
    assert torch.equal(module.codes, saved.codes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(
    "make",
    [
        lambda: VectorQuantize(8, 16, codebook_dim=4),
        lambda: VectorQuantize(8, 16),
        lambda: ResidualVQ(8, 16, 3, codebook_dim=4),
        lambda: ResidualVQ(8, 16, 3),
        lambda: GroupedResidualVQ(8, 16, 2),
    ],
)
def test_decoded_codes_have_the_dtype_of_the_module(
    make: Callable[[], Any], dtype: torch.dtype
) -> None:
    quantizer = make()
    quantizer(rows())
    quantizer.to(dtype).eval()
    output = quantizer(rows(seed=1).to(dtype))
    decoded = quantizer.decode(output.indices)
    assert decoded.dtype == output.quantized.dtype == dtype
    assert torch.equal(decoded, output.quantized)


def test_converted_modules_of_the_original_decode() -> None:
    single = compat.VectorQuantize(dim=8, codebook_size=16, codebook_dim=4).bfloat16().eval()
    levels = compat.ResidualVQ(dim=8, codebook_size=16, num_quantizers=2, codebook_dim=4)
    for module in (single, levels.bfloat16().eval()):
        quantized, indices, *_ = module(rows().bfloat16()[None])
        # The original adds levels up in the rows' type.
        found = module.get_output_from_indices(indices)
        torch.testing.assert_close(found, quantized, rtol=0.016, atol=4e-3)


@pytest.mark.parametrize("terms", [Regularizers(), Regularizers(orthogonal=1.0)])
@pytest.mark.parametrize("by_attribute", [True, False])
def test_frozen_codes_stay_where_they_are(terms: Regularizers, by_attribute: bool) -> None:
    quantizer = VectorQuantize(8, 16, update=Update(ema=False), regularizers=terms)
    quantizer(rows())
    if by_attribute:
        quantizer.bank.frozen = True
    else:
        assert quantizer.freeze() is quantizer
    before = quantizer.codes.clone()
    x = rows(seed=1).requires_grad_()
    quantizer(x).losses.total.backward()
    assert x.grad is not None
    assert quantizer.bank.weight.grad is None
    assert torch.equal(quantizer.codes, before)


def test_levels_and_groups_freeze_and_thaw() -> None:
    for quantizer in (ResidualVQ(8, 16, 2), GroupedResidualVQ(8, 16, 2)):
        quantizer(rows())
        quantizer.freeze()
        before = {name: value.clone() for name, value in quantizer.state_dict().items()}
        quantizer(rows(seed=1))
        for name, value in quantizer.state_dict().items():
            assert "epoch" in name or torch.equal(value, before[name]), name
        quantizer.freeze(False)(rows(seed=1))
        moved = [k for k, v in quantizer.state_dict().items() if not torch.equal(v, before[k])]
        assert any(name.endswith("bank.weight") for name in moved)


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2


def test_codes_behind_a_parametrization() -> None:
    quantizer = RaggedVectorQuantizer([16], [8], use_ema=False, init="uniform")
    plain = quantizer.codebook(0).detach().clone()
    parametrize.register_parametrization(quantizer.bank, "weight", Doubled())
    assert torch.equal(
        quantizer(rows()).quantized.detach(), 2 * plain[quantizer(rows()).indices[:, 0]]
    )
    pruned = RaggedVectorQuantizer([16], [8], use_ema=False, init="uniform")
    expected = pruned(rows()).indices
    prune.identity(pruned.bank, "weight")
    assert torch.equal(pruned(rows()).indices, expected)


MADE: dict[str, Callable[[], nn.Module]] = {
    "ragged": lambda: RaggedVectorQuantizer([16, 9], [4, 4], init="uniform"),
    "unit": lambda: VectorQuantize(8, 16, update=UNIFORM, lookup=COSINE),
    "nested": lambda: NestedResidualQuantizer([[8, 8]], [[8, 4]], init="uniform"),
    "residual": lambda: ResidualVQ(8, 16, 2, update=UNIFORM),
    "compat": lambda: compat.VectorQuantize(dim=8, codebook_size=16),
}


@pytest.mark.parametrize("name", MADE)
def test_made_on_the_device_that_is_asked_for(name: str) -> None:
    with torch.device("meta"):
        module = MADE[name]()
    assert all(value.is_meta for value in module.state_dict().values())
    saved = MADE[name]()
    module.to_empty(device="cpu").load_state_dict(saved.state_dict())
    for key, value in saved.state_dict().items():
        assert torch.equal(module.state_dict()[key], value), key


@pytest.mark.parametrize("options", [{}, {"update": Update(ema=False)}, {"lookup": COSINE}])
def test_codes_of_ones_own(options: dict[str, Any]) -> None:
    quantizer = VectorQuantize(8, 16, **options)
    mine = rows(16, seed=5)
    quantizer.bank.set_codebook(0, mine.double(), count=3)
    expected = nn.functional.normalize(mine, dim=-1) if "lookup" in options else mine
    torch.testing.assert_close(quantizer.codes[0].detach(), expected)
    before = quantizer.codes[0].detach().clone()
    output = quantizer(rows())
    torch.testing.assert_close(output.quantized.detach(), before[output.indices])
    # The averages begin at them: one step with a decay of 0.99 moves them a little.
    torch.testing.assert_close(quantizer.codes[0].detach(), before, rtol=0, atol=0.2)
    assert quantizer.bank.initialized


def test_codes_of_ones_own_for_some_codebooks() -> None:
    quantizer = RaggedVectorQuantizer([4, 6], [2, 3])
    mine = rows(6, 3, seed=5)
    quantizer.bank.set_codebook(1, mine)
    assert not quantizer.bank.initialized
    output = quantizer(rows(48, 5))
    assert torch.equal(output.quantized[:, 2:], mine[output.indices[:, 1]])
    assert quantizer.bank.initialized
    for codes in (mine[:5], mine.long(), mine.fill_(torch.nan)):
        with pytest.raises(InputError, match=r"codes: expected finite floating point \[6, 3\]"):
            quantizer.bank.set_codebook(1, codes)
    with pytest.raises(InputError, match="count: expected"):
        quantizer.bank.set_codebook(1, rows(6, 3), count=0)
