"""Quantized values, losses and their gradients."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

from cases import RaggedCase, ragged_cases
from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.ops import accumulate_codes, gather_codes, nearest_codes, quantize
from spinlock.ops.padding import padding_plan

LAYOUT = CodebookLayout((3, 4, 2), (2, 1, 5))


def problem(rows: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(rows, LAYOUT.input_width, generator=generator, dtype=dtype)
    codebooks = [torch.randn(k, d, generator=generator) for k, d in ((3, 2), (4, 1), (2, 5))]
    weight = torch.from_numpy(LAYOUT.pack_codebooks([codes.numpy() for codes in codebooks]))
    return latents, weight.to(dtype)


@settings(max_examples=30)
@given(ragged_cases(max_codes=40, max_dim=30))
def test_losses_are_means_over_usable_rows_and_dims(case: RaggedCase) -> None:
    assume(np.nanmax(np.abs(case.latents), initial=0.0) < 1e15)  # squares stay within float32
    latents, weight = torch.from_numpy(case.latents), torch.from_numpy(case.weight)
    result = quantize(latents, weight, case.layout)
    codes = gather_codes(result.indices, weight, case.layout)
    assert torch.equal(result.quantized, codes)
    assert torch.equal(result.commitment, result.codebook_loss)
    parts = np.split(codes.numpy().astype(np.float64), case.layout.input_offsets[1:], axis=1)
    for q, (x, c) in enumerate(zip(case.parts(), parts, strict=True)):
        usable = np.isfinite(x).all(axis=1)
        expected = ((x[usable] - c[usable]) ** 2).mean() if usable.any() else 0.0
        assert result.commitment[q].item() == pytest.approx(expected, rel=1e-4, abs=1e-37)


def test_gradient_passes_straight_through() -> None:
    latents, weight = problem()
    latents.requires_grad_()
    cotangent = torch.randn(latents.shape, dtype=torch.float64)
    quantize(latents, weight, LAYOUT).quantized.backward(cotangent)
    assert torch.equal(latents.grad, cotangent)


def test_commitment_gradient_is_right() -> None:
    latents, weight = problem()
    latents.requires_grad_()
    indices = nearest_codes(latents, weight, LAYOUT)

    def commitment(x: Tensor) -> Tensor:
        return quantize(x, weight, LAYOUT, indices=indices).commitment

    assert torch.autograd.gradcheck(commitment, latents)


def test_codebook_gradient_is_right() -> None:
    latents, weight = problem()
    weight.requires_grad_()
    indices = nearest_codes(latents, weight, LAYOUT)

    def codebook_loss(w: Tensor) -> Tensor:
        return quantize(latents, w, LAYOUT, indices=indices).codebook_loss

    assert torch.autograd.gradcheck(codebook_loss, weight)


def test_each_loss_reaches_one_side_only() -> None:
    latents, weight = problem()
    latents.requires_grad_()
    weight.requires_grad_()
    result = quantize(latents, weight, LAYOUT)
    grads = torch.autograd.grad(result.commitment.sum(), (latents, weight), retain_graph=True)
    assert grads[0].abs().sum() > 0
    assert grads[1].abs().sum() == 0
    grads = torch.autograd.grad(result.codebook_loss.sum(), (latents, weight), retain_graph=True)
    assert grads[0].abs().sum() == 0
    assert grads[1].abs().sum() > 0
    (grad,) = torch.autograd.grad(result.quantized.sum(), weight, allow_unused=True)
    assert grad is None


def test_gradients_equal_those_of_plain_autograd() -> None:
    latents, weight = problem(rows=40)
    latents.requires_grad_()
    weight.requires_grad_()
    result = quantize(latents, weight, LAYOUT)
    factors = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    loss = (result.commitment * factors).sum() + (result.codebook_loss * factors**2).sum()
    ours = torch.autograd.grad(loss, (latents, weight))
    codes = gather_codes(result.indices, weight, LAYOUT)
    plain = torch.zeros((), dtype=torch.float64)
    for q, factor in enumerate(factors):
        columns = slice(*LAYOUT.input_range(q, q + 1))
        x, c = latents[:, columns], codes[:, columns]
        plain = plain + factor * (x - c.detach()).square().mean()
        plain = plain + factor**2 * (x.detach() - c).square().mean()
    for mine, other in zip(ours, torch.autograd.grad(plain, (latents, weight)), strict=True):
        torch.testing.assert_close(mine, other)


def test_damaged_rows_have_no_loss_and_no_gradient() -> None:
    latents, weight = problem()
    latents[1, 0] = torch.nan  # quantizer 0
    latents[2, 7] = torch.inf  # quantizer 2
    latents.requires_grad_()
    weight.requires_grad_()
    result = quantize(latents, weight, LAYOUT)
    assert result.quantized.isfinite().all()
    assert result.indices[1, 0] == result.indices[2, 2] == 0
    total = result.quantized.sum() + result.commitment.sum() + result.codebook_loss.sum()
    total.backward()
    assert latents.grad is not None
    assert weight.grad is not None
    assert latents.grad.isfinite().all()
    assert weight.grad.isfinite().all()
    assert (latents.grad[1, :2] == 0).all()
    assert (latents.grad[2, 3:] == 0).all()
    assert (latents.grad[1, 2:] != 0).all()
    whole = torch.ones(len(latents), dtype=torch.bool)
    whole[1] = False
    alone = quantize(latents[whole], weight, LAYOUT)
    torch.testing.assert_close(result.commitment[0], alone.commitment[0])


def test_only_damaged_rows_cost_nothing() -> None:
    _, weight = problem()
    result = quantize(torch.full((3, 8), torch.nan), weight.float(), LAYOUT)
    assert result.commitment.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    latents, weight = problem(dtype=dtype)
    latents.requires_grad_()
    result = quantize(latents, weight.float(), LAYOUT)
    assert result.quantized.dtype == dtype
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert result.commitment.dtype == wide
    (result.quantized.float().sum() + result.commitment.sum()).backward()
    assert latents.grad is not None
    assert latents.grad.dtype == dtype


@pytest.mark.parametrize("rows", [0, 1])
def test_tiny_batches(rows: int) -> None:
    latents, weight = problem(rows=rows)
    latents.requires_grad_()
    result = quantize(latents, weight, LAYOUT)
    assert result.quantized.shape == (rows, 8)
    assert result.indices.shape == (rows, 3)
    (result.quantized.sum() + result.commitment.sum()).backward()
    assert latents.grad is not None
    assert latents.grad.shape == latents.shape


def test_index_tensors_made_in_inference_mode_serve_training() -> None:
    latents, weight = problem()
    padding_plan.cache_clear()
    with torch.inference_mode():
        quantize(latents, weight, LAYOUT)
    latents.requires_grad_()
    weight.requires_grad_()
    result = quantize(latents, weight, LAYOUT)
    (result.quantized.sum() + result.codebook_loss.sum() + result.commitment.sum()).backward()
    gather_codes(result.indices, weight, LAYOUT).sum().backward()


def test_output_may_be_changed_in_place() -> None:
    latents, weight = problem()
    latents.requires_grad_()
    (quantize(latents * 1.0, weight, LAYOUT).quantized.mul_(2.0)).sum().backward()
    assert (latents.grad == 2.0).all()


@pytest.mark.parametrize("backend", ["cpp", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_buffers_are_used_again(backend: str, dtype: torch.dtype) -> None:
    latents, weight = problem(dtype=dtype)
    weight = weight.float()
    expected = quantize(latents, weight, LAYOUT, backend=backend)
    out = torch.full((6, 8), torch.nan, dtype=dtype), torch.full((6, 3), -1)
    for _ in range(2):
        found = quantize(latents, weight, LAYOUT, out=out, backend=backend)
        assert found.quantized is out[0]
        assert found.indices is out[1]
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.equal(ours, theirs)
    indices = torch.full((6, 3), -1)
    assert nearest_codes(latents, weight, LAYOUT, out=indices, backend=backend) is indices
    assert torch.equal(indices, expected.indices)


@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_codes_are_not_written_over_what_is_read(backend: str) -> None:
    """The core takes squares that over- or underflow from the rows once more."""
    latents, weight = problem(dtype=torch.float32)
    memory = torch.zeros(2, 6, 8)
    memory[0] = latents
    indices = torch.full((6, 3), -1)
    expected = quantize(latents, weight, LAYOUT, backend=backend)
    apart = quantize(memory[0], weight, LAYOUT, out=(memory[1], indices), backend=backend)
    assert all(torch.equal(*pair) for pair in zip(apart, expected, strict=True))
    shifted = memory.view(-1)[8:56].view(6, 8)
    for rows, codes in ((memory[0], memory[0]), (memory[0], shifted), (shifted, memory[0])):
        with pytest.raises(InputError, match=r"out\[0\]: expected memory apart from latents"):
            quantize(rows, weight, LAYOUT, out=(codes, indices), backend=backend)
    room = torch.zeros(48 + LAYOUT.weight_size)
    codes = room[: LAYOUT.weight_size].copy_(weight)
    with pytest.raises(InputError, match=r"out\[0\]: expected memory apart from weight"):
        quantize(latents, codes, LAYOUT, out=(room[16:64].view(6, 8), indices), backend=backend)
    assert torch.equal(memory[0], latents)
    empty = quantize(latents[:0], weight, LAYOUT, out=(latents[:0], indices[:0]), backend=backend)
    assert empty.quantized.shape == (0, 8)


@settings(max_examples=30)
@given(ragged_cases(max_codes=40, max_dim=30))
def test_gradients_of_the_core_are_those_of_the_torch_backend(case: RaggedCase) -> None:
    grads = []
    for backend in ("cpp", "torch"):
        latents = torch.from_numpy(case.latents).requires_grad_()
        weight = torch.from_numpy(case.weight.copy()).requires_grad_()
        result = quantize(latents, weight, case.layout, backend=backend)
        factors = torch.linspace(1.0, 2.0, case.layout.num_quantizers)
        total = (result.commitment * factors).sum() + (result.codebook_loss / factors).sum()
        grads.append(torch.autograd.grad(result.quantized.sum() + total, (latents, weight)))
    for ours, theirs in zip(*grads, strict=True):
        size = float(theirs.abs().max()) if theirs.numel() else 0.0
        assume(size < 1e30)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_counts_are_those_of_accumulate_codes(backend: str) -> None:
    latents, weight = problem(dtype=torch.float32)
    latents[1, 0] = torch.nan
    result = quantize(latents, weight, LAYOUT, backend=backend)
    counts, _ = accumulate_codes(latents, result.indices, LAYOUT, backend=backend)
    assert torch.equal(result.counts, counts)
    assert result.counts[:3].sum() == 5
