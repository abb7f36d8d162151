"""What a step keeps for its gradient: the codes of the rows, or the codebooks as they were."""

import pytest
import torch
from torch import Tensor

from spinlock.layout import CodebookLayout
from spinlock.modules import RaggedVectorQuantizer
from spinlock.ops import nearest_codes, quantize
from spinlock.ops._gradients import codebooks_to_keep

WIDE = CodebookLayout(codebook_sizes=(5, 7), dims=(64, 80))


def wide_problem(rows: int) -> tuple[Tensor, Tensor]:
    """Many rows keep the codebooks for their gradient, few keep their codes."""
    draws = torch.Generator().manual_seed(rows)
    latents = torch.randn(rows, WIDE.input_width, generator=draws)
    weight = torch.randn(WIDE.weight_size, generator=draws)
    kept = codebooks_to_keep(latents.requires_grad_(), weight, WIDE, "cpp", False)
    assert (kept is not None) == (rows > 20)
    return latents, weight


@pytest.mark.parametrize("rows", [4, 40], ids=["rows are kept", "codebooks are kept"])
@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_what_changes_in_place_after_the_step_is_not_what_is_kept(backend: str, rows: int) -> None:
    latents, weight = wide_problem(rows)
    gradients = []
    for change in (False, True):
        result = quantize(latents, weight, WIDE, backend=backend)
        quantized = result.quantized
        if change:
            weight.add_(1.0)
            quantized.mul_(2.0)
        loss = quantized.sum() * (0.5 if change else 1.0) + result.commitment.sum()
        gradients.append(torch.autograd.grad(loss, latents)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize("rotation", [False, True])
def test_second_derivatives_of_wide_codes(rotation: bool) -> None:
    latents, weight = wide_problem(40)
    found = []
    for backend in ("cpp", "torch"):
        result = quantize(latents, weight, WIDE, rotation=rotation, backend=backend)
        loss = result.commitment.sum() * 3 + (result.quantized * result.quantized).sum()
        (first,) = torch.autograd.grad(loss, latents, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), latents)
        found.append((first, second))
    torch.testing.assert_close(*found)


def test_rotated_gradients_of_wide_codes() -> None:
    latents, weight = wide_problem(40)
    found = []
    for backend in ("cpp", "torch"):
        result = quantize(latents, weight, WIDE, rotation=True, backend=backend)
        found.append(torch.autograd.grad(result.quantized.square().sum(), latents)[0])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("rows", [4, 40], ids=["rows are kept", "codebooks are kept"])
def test_codes_that_move_in_the_step_are_those_of_before_in_its_gradient(rows: int) -> None:
    latents, _ = wide_problem(rows)
    found = []
    for backend in ("cpp", "torch"):
        torch.manual_seed(0)
        quantizer = RaggedVectorQuantizer(
            (5, 7), (64, 80), decay=0.5, init="uniform", backend=backend
        )
        before = quantizer.bank.weight.clone()
        output = quantizer(latents)
        assert not torch.equal(quantizer.bank.weight, before)
        loss = output.quantized.square().sum() + output.losses.total
        found.append(torch.autograd.grad(loss, latents)[0])
    torch.testing.assert_close(*found)


def test_rows_are_kept_where_codebooks_do_not_pay_or_do_not_do() -> None:
    latents, weight = wide_problem(40)
    narrow = CodebookLayout(codebook_sizes=(5, 7), dims=(63, 64))
    rows = torch.randn(400, narrow.input_width, requires_grad=True)
    assert codebooks_to_keep(rows, torch.randn(narrow.weight_size), narrow, "cpp", False) is None
    assert codebooks_to_keep(latents, weight, WIDE, "cpp", True) is None
    assert codebooks_to_keep(latents, weight, WIDE, "torch", False) is None
    assert codebooks_to_keep(latents.double(), weight, WIDE, "cpp", False) is None
    with torch.no_grad():
        assert codebooks_to_keep(latents, weight, WIDE, "cpp", False) is None
    assert codebooks_to_keep(latents.detach(), weight, WIDE, "cpp", False) is None
    assert codebooks_to_keep(latents, weight.requires_grad_(), WIDE, "cpp", False) is None


def test_indices_may_be_written_over_after_the_step() -> None:
    latents, weight = wide_problem(40)
    gradients = []
    for change in (False, True):
        result = quantize(latents, weight, WIDE, backend="cpp")
        if change:
            result.indices.numpy()[:] = -1
            nearest_codes(torch.randn(40, WIDE.input_width), weight, WIDE, out=result.indices)
        gradients.append(torch.autograd.grad(result.commitment.sum(), latents)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_types_rows_left_out_and_given_indices_where_codebooks_are_kept(
    dtype: torch.dtype,
) -> None:
    latents, weight = wide_problem(40)
    values = latents.detach().to(dtype)
    values[3, 70] = torch.nan
    rows, halves = values.requires_grad_(), weight.to(dtype)
    indices = quantize(rows, halves, WIDE, backend="cpp").indices
    found = []
    for backend, given in (("cpp", None), ("cpp", indices), ("torch", None)):
        result = quantize(rows, halves, WIDE, indices=given, backend=backend)
        loss = result.quantized.float().sum() + result.commitment.sum()
        once = torch.autograd.grad(loss, rows, retain_graph=True)[0]
        assert torch.equal(once, torch.autograd.grad(loss, rows)[0])
        found.append(once)
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])
    assert not found[0][3, 64:].any()
