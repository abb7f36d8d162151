"""Masks, cosine lookup, frozen codebooks, the rotation trick and views, as modules offer them."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.errors import ConfigError, InputError
from spinlock.modules import NestedResidualQuantizer, RaggedVectorQuantizer
from spinlock.modules.codebook_views import codebook_view
from spinlock.ops import nearest_codes, quantize, unit_rows

SIZES, DIMS = (8, 5, 3), (4, 2, 7)
modes = pytest.mark.parametrize("run", [lambda q: q, "compiled"], ids=["direct", "compiled"])


def rows(count: int = 64, seed: int = 0) -> Tensor:
    return torch.randn(count, sum(DIMS), generator=torch.Generator().manual_seed(seed))


def trained(**options: Any) -> RaggedVectorQuantizer:
    quantizer = RaggedVectorQuantizer(SIZES, DIMS, **options)
    for seed in range(3):
        quantizer(rows(seed=seed))
    return quantizer


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def runner(run: Any, quantizer: RaggedVectorQuantizer) -> Any:
    if run != "compiled":
        return quantizer
    torch._dynamo.reset()
    return torch.compile(quantizer, fullgraph=True, backend="aot_eager")


@modes
@pytest.mark.parametrize("options", [{}, {"use_ema": False}, {"similarity": "cosine"}], ids=str)
def test_masked_rows_are_as_if_they_were_not_there(run: Any, options: dict[str, Any]) -> None:
    quantizer = trained(**options)
    alone = copy.deepcopy(quantizer)
    mask = torch.arange(8) < torch.tensor([8, 3, 0, 5])[:, None]  # lengths
    latents = rows(32, seed=5).view(4, 8, -1).requires_grad_()
    kept = latents.detach()[mask].requires_grad_()
    output, expected = runner(run, quantizer)(latents, mask), alone(kept)
    assert torch.equal(output.indices[mask], expected.indices)
    assert torch.equal(output.quantized[mask], expected.quantized)
    assert (output.indices[~mask] == 0).all()
    torch.testing.assert_close(output.losses.total, expected.losses.total)
    assert torch.equal(output.usage.counts, expected.usage.counts)
    torch.testing.assert_close(state(quantizer), state(alone))
    assert torch.equal(quantizer.usage().skipped, torch.zeros(3, dtype=torch.int64))
    (output.quantized.square().sum() + output.losses.total).backward()
    (expected.quantized.square().sum() + expected.losses.total).backward()
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad[mask], kept.grad)
    assert (latents.grad[~mask] == 0).all()


def test_masked_rows_are_told_from_broken_ones() -> None:
    quantizer = trained()
    quantizer.reset_usage()
    latents = rows(6)
    latents[0] = torch.nan
    latents[1, 0] = torch.inf
    mask = torch.tensor([False, True, True, True, False, True])
    quantizer(latents, mask)
    assert quantizer.usage().skipped.tolist() == [1, 0, 0]
    assert quantizer.bank.epoch_counts[:8].sum() == 3


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_padding_costs_nothing(training: bool) -> None:
    quantizer = trained().train(training)
    before = state(quantizer)
    latents = rows(4).requires_grad_()
    output = quantizer(latents, torch.zeros(4, dtype=torch.bool))
    assert output.losses.total == 0
    output.losses.total.backward()
    assert (latents.grad == 0).all()
    torch.testing.assert_close(state(quantizer), before)


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (torch.ones(4), r"got torch.float32 \[4\]"),
        (torch.ones(3, dtype=torch.bool), r"got torch.bool \[3\]; from lengths"),
        ([True] * 4, "expected a torch.Tensor, got list"),
    ],
)
def test_masks_are_checked(mask: Any, got: str) -> None:
    with pytest.raises(InputError, match=rf"mask: .*{got}"):
        trained()(rows(4), mask)


def cosine_twin(quantizer: RaggedVectorQuantizer, latents: Tensor) -> Tensor:
    found = []
    for q, part in enumerate(quantizer.split(latents)):
        codes = quantizer.codebook(q)
        cosine = torch.nn.functional.normalize(part.double()) @ codes.double().t()
        found.append(cosine.argmax(dim=1))
    return torch.stack(found, dim=1)


@modes
@pytest.mark.parametrize("init", ["kmeans", "uniform"])
def test_cosine_takes_the_smallest_angle(run: Any, init: str) -> None:
    quantizer = RaggedVectorQuantizer(SIZES, DIMS, similarity="cosine", init=init)
    step = runner(run, quantizer)
    for seed in range(3):
        latents = rows(seed=seed) * torch.logspace(-20, 15, 64)[:, None]
        before = quantizer.eval()(latents).indices if quantizer.bank.initialized else None
        output = step.train()(latents)
        if before is not None:
            assert torch.equal(output.indices, before)
        for q in range(3):
            lengths = quantizer.codebook(q).double().norm(dim=1)
            torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=1e-6)
    latents = rows(seed=9)
    output = quantizer.eval()(latents)
    assert torch.equal(output.indices, cosine_twin(quantizer, latents))
    assert torch.equal(quantizer.decode(output.indices), output.quantized)
    scaled = quantizer(latents * 1000.0)
    torch.testing.assert_close(scaled.losses.commitment, output.losses.commitment)


def test_cosine_gradients_pass_through_the_scaling() -> None:
    quantizer = trained(similarity="cosine").eval()
    latents = rows().double().requires_grad_()
    output = quantizer(latents)
    (output.quantized.square().sum() + output.losses.total).backward()
    twin = rows().double().requires_grad_()
    parts = [torch.nn.functional.normalize(part) for part in quantizer.split(twin)]
    unit = torch.cat(parts, dim=1)
    through = unit + (output.quantized - unit).detach()
    total = sum(
        (part - code.detach()).square().mean() / 3
        for part, code in zip(parts, quantizer.split(output.quantized), strict=True)
    )
    (through.square().sum() + total).backward()
    torch.testing.assert_close(latents.grad, twin.grad)


def test_cosine_revives_and_counts_as_ever() -> None:
    quantizer = trained(similarity="cosine")
    quantizer.bank.ema_counts[:3] = 0.0
    assert quantizer.revive(rows(seed=4) * 50.0, 0.02) == 3
    lengths = quantizer.codebook(0).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(8))
    zeros = quantizer(torch.zeros(4, sum(DIMS), requires_grad=True))
    zeros.losses.total.backward()
    assert quantizer.bank.weight.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_cosine_keeps_dtypes(dtype: torch.dtype) -> None:
    quantizer = trained(similarity="cosine").to(dtype)
    output = quantizer(rows().to(dtype))
    assert output.quantized.dtype == dtype
    assert output.losses.total.dtype == (dtype if dtype == torch.float64 else torch.float32)


def test_cosine_with_learnable_codes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unit_codes: .* got use_ema=False; set use_ema=True"):
        RaggedVectorQuantizer(SIZES, DIMS, similarity="cosine", use_ema=False)
    with pytest.raises(ConfigError, match="similarity: expected 'euclidean' or 'cosine', got 'l1'"):
        RaggedVectorQuantizer(SIZES, DIMS, similarity="l1")  # type: ignore[arg-type]


@modes
@pytest.mark.parametrize("options", [{}, {"use_ema": False}, {"similarity": "cosine"}], ids=str)
def test_frozen_codes_stay_and_rows_are_counted(run: Any, options: dict[str, Any]) -> None:
    quantizer = trained(**options)
    quantizer.reset_usage()
    before = state(quantizer)
    assert quantizer.freeze() is quantizer
    latents = rows(seed=8).requires_grad_()
    output = runner(run, quantizer)(latents)
    (output.quantized.sum() + output.losses.total).backward()
    assert latents.grad is not None
    assert not any(parameter.requires_grad for parameter in quantizer.parameters())
    assert quantizer.revive(rows(), 2.0) == 0
    changed = {name for name, value in state(quantizer).items() if not value.equal(before[name])}
    assert changed == {"bank.epoch_counts"}
    assert torch.equal(quantizer.bank.epoch_counts, output.usage.counts)
    assert copy.deepcopy(quantizer).bank.frozen
    quantizer.freeze(False)(rows(seed=8))
    assert all(parameter.requires_grad for parameter in quantizer.parameters())
    assert not torch.equal(quantizer.bank.ema_counts, before["bank.ema_counts"])


def test_a_frozen_quantizer_does_not_initialise() -> None:
    for quantizer in (
        RaggedVectorQuantizer(SIZES, DIMS),
        NestedResidualQuantizer([[4, 3]], [[13, 13]]),
    ):
        before = state(quantizer)
        quantizer.freeze()(rows())
        assert not quantizer.bank.initialized
        assert torch.equal(quantizer.bank.weight, before["bank.weight"])


def test_rotation_trick_is_that_of_quantize() -> None:
    quantizer = trained(rotation_trick=True).eval()
    latents = rows().requires_grad_()
    output = quantizer(latents)
    expected = quantize(latents, quantizer.bank.weight, quantizer.layout, rotation=True)
    ours = torch.autograd.grad(output.quantized.square().sum(), latents)
    theirs = torch.autograd.grad(expected.quantized.square().sum(), latents)
    assert torch.equal(ours[0], theirs[0])
    assert not torch.allclose(ours[0], 2 * output.quantized)


def test_split_gives_views() -> None:
    quantizer = trained()
    output = quantizer(rows(12).view(3, 4, -1))
    parts = quantizer.split(output.quantized)
    assert [part.shape for part in parts] == [(3, 4, 4), (3, 4, 2), (3, 4, 7)]
    base = output.quantized.untyped_storage().data_ptr()
    assert all(part.untyped_storage().data_ptr() == base for part in parts)


def test_unit_rows_of_equal_and_unequal_dims() -> None:
    layout = RaggedVectorQuantizer([2, 2], [3, 3]).layout
    latents = torch.tensor([[3.0, 0.0, 4.0, 0.0, 0.0, 0.0], [1e-30, 0.0, 0.0, 1e30, 0.0, 0.0]])
    expected = [[0.6, 0.0, 0.8, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]]
    torch.testing.assert_close(unit_rows(latents, layout), torch.tensor(expected))
    ragged = RaggedVectorQuantizer([2, 2], [1, 5]).layout
    part = unit_rows(latents, ragged)[0]
    torch.testing.assert_close(part, torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 0.0]))


def test_the_codes_of_a_quantizer_are_those_of_its_view() -> None:
    quantizer = trained(similarity="cosine")
    for q in range(3):
        view = codebook_view(quantizer.bank.weight, quantizer.layout, q)
        assert torch.equal(view, quantizer.codebook(q))
    unit = unit_rows(rows(), quantizer.layout)
    found = nearest_codes(unit, quantizer.bank.weight, quantizer.layout)
    assert torch.equal(found, quantizer.eval()(rows()).indices)
