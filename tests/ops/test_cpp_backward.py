"""The C++ backward pass of a step against the plain one, bit by bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cases import RaggedCase, make_case, ragged_cases
from spinlock import _C
from spinlock.errors import LayoutError
from spinlock.layout import CodebookLayout
from spinlock.modules import RaggedVectorQuantizer
from spinlock.ops import _cpp, quantize
from spinlock.ops._gradients import plain_backward

ISAS = _cpp.instruction_sets()
LAYOUT = CodebookLayout(codebook_sizes=(16, 5, 40), dims=(8, 3, 33))
# Several tasks for several threads.
LARGE = make_case(
    "large", [(16, 8), (20, 30), (6, 100), (7, 3)], 1500, makers=["plain"], seed=3, damaged=10
)


def arguments(case: RaggedCase, seed: int = 0) -> tuple[Tensor, ...]:
    """Latents, quantized, counts, gradients of quantized and of losses, for finite codes."""
    latents, weight = torch.from_numpy(case.latents), torch.from_numpy(case.weight)
    step = _cpp.quantize(latents, weight, case.layout)
    draws = torch.Generator().manual_seed(seed)
    upstream = torch.randn(latents.shape, generator=draws)
    losses = torch.randn(case.layout.num_quantizers, generator=draws)
    return latents, step.quantized, step.counts, upstream, losses


def equal(ours: Tensor, theirs: Tensor) -> bool:
    """Also where values overflow."""
    return torch.equal(ours.nan_to_num(7.0), theirs.nan_to_num(7.0))


@settings(max_examples=60)
@given(
    case=ragged_cases(max_codes=40, max_dim=50), isa=st.sampled_from(ISAS), straight=st.booleans()
)
def test_every_instruction_set_gives_the_bits_of_the_plain_pass(
    case: RaggedCase, isa: str, straight: bool
) -> None:
    latents, quantized, counts, upstream, losses = arguments(case)
    given_grad = upstream if straight else None
    ours = _cpp.backward(latents, quantized, counts, given_grad, losses, case.layout, isa=isa)
    theirs = plain_backward(latents, quantized, counts, given_grad, losses, case.layout)
    assert equal(ours, theirs)


@settings(max_examples=60)
@given(case=ragged_cases(max_codes=40, max_dim=50), isa=st.sampled_from(ISAS))
def test_codebooks_and_indices_stand_for_rows_of_codes(case: RaggedCase, isa: str) -> None:
    latents, weight = torch.from_numpy(case.latents), torch.from_numpy(case.weight)
    rest = arguments(case)[2:]
    indices = _cpp.quantize(latents, weight, case.layout).indices
    ours = _cpp.backward(latents, (weight, indices), *rest, case.layout, isa=isa)
    assert equal(ours, _cpp.backward(*arguments(case), case.layout, isa=isa))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_bit(threads: int) -> None:
    latents, quantized, *rest = arguments(LARGE)
    weight = torch.from_numpy(LARGE.weight)
    indices = _cpp.quantize(latents, weight, LARGE.layout).indices
    expected = plain_backward(*arguments(LARGE), LARGE.layout)
    for codes in (quantized, (weight, indices)):
        ours = _cpp.backward(latents, codes, *rest, LARGE.layout, threads=threads)
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("wrong", [-1, 5])
def test_indices_outside_their_codebook_are_refused(wrong: int) -> None:
    latents, rest = torch.randn(9, LAYOUT.input_width), (torch.randn(9, 44), torch.randn(3))
    indices = torch.zeros(9, 3, dtype=torch.int64)
    indices[7, 1] = wrong
    counts = torch.zeros(LAYOUT.total_codes, dtype=torch.int64)
    weight = torch.randn(LAYOUT.weight_size)
    with pytest.raises(LayoutError, match=r"indices\[:, 1\]: expected values in 0..4"):
        _cpp.backward(latents, (weight, indices), counts, *rest, LAYOUT)


def test_rows_left_out_have_no_gradient() -> None:
    latents = torch.randn(9, LAYOUT.input_width, generator=torch.Generator().manual_seed(0))
    latents[2, 1], latents[4, 9], latents[5, 20] = torch.nan, torch.inf, -torch.inf
    weight = torch.randn(LAYOUT.weight_size, generator=torch.Generator().manual_seed(1))
    latents.requires_grad_()
    result = quantize(latents, weight, LAYOUT, backend="cpp")
    (grad,) = torch.autograd.grad(result.quantized.sum() + result.mean_commitment, latents)
    assert grad.isfinite().all()
    for row, columns in ((2, slice(0, 8)), (4, slice(8, 11)), (5, slice(11, 44))):
        assert not grad[row, columns].any()
    assert (grad != 0).sum() == grad.numel() - 8 - 3 - 33


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rows_may_lie_apart_and_gradients_may_be_expanded(dtype: torch.dtype) -> None:
    wide = torch.randn(2 * 30, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    weight = torch.randn(LAYOUT.weight_size, generator=torch.Generator().manual_seed(1))
    latents = wide[::2, 3:47].requires_grad_()
    result = quantize(latents, weight, LAYOUT, backend="cpp")
    (grad,) = torch.autograd.grad(result.quantized.float().sum() + result.commitment.sum(), latents)
    codes = result.quantized.detach().float()
    if dtype is not torch.float32:
        codes = quantize(latents.detach().float(), weight, LAYOUT).quantized
    upstream, losses = torch.ones(30, 44), torch.ones(3)
    rows = latents.detach()
    expected = plain_backward(rows, codes, result.counts, upstream, losses, LAYOUT)
    assert grad.dtype is dtype
    assert torch.equal(grad, expected)


@pytest.mark.parametrize("backend", ["cpp", "torch", "reference"])
@pytest.mark.parametrize("rows", [0, 1, 40])
def test_the_mean_is_that_of_the_terms_and_so_is_its_gradient(backend: str, rows: int) -> None:
    latents = torch.randn(rows, 44, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.randn(LAYOUT.weight_size, generator=torch.Generator().manual_seed(1))
    result = quantize(latents, weight, LAYOUT, backend=backend)
    torch.testing.assert_close(result.mean_commitment, result.commitment.mean(), rtol=1e-6, atol=0)
    factors = torch.tensor([1.0, 2.0, 5.0])
    both = result.mean_commitment * 3 + (result.commitment * factors).sum()
    (ours,) = torch.autograd.grad(both, latents, retain_graph=True)
    (theirs,) = torch.autograd.grad((result.commitment * (factors + 1)).sum(), latents)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("use_ema", [True, False])
def test_the_total_of_a_module_follows_its_options(reduction: str, use_ema: bool) -> None:
    quantizer = RaggedVectorQuantizer(
        [16, 5], [8, 3], commitment_weight=0.25, commitment_reduction=reduction, use_ema=use_ema
    )  # type: ignore[arg-type]
    losses = quantizer(torch.randn(30, 11, generator=torch.Generator().manual_seed(0))).losses
    reduce = torch.mean if reduction == "mean" else torch.sum
    expected = 0.25 * reduce(losses.commitment) + (0 if use_ema else reduce(losses.codebook))
    torch.testing.assert_close(losses.total, expected)


def test_counts_of_a_step_are_whole_numbers() -> None:
    latents = torch.randn(30, 44, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(LAYOUT.weight_size, generator=torch.Generator().manual_seed(1))
    for backend in ("cpp", "torch", "reference"):
        counts = quantize(latents, weight, LAYOUT, backend=backend).counts
        assert counts.dtype is torch.int64
        assert counts.sum() == 3 * 30


def test_buffers_of_another_size_are_refused() -> None:
    latents, quantized, counts, upstream, losses = arguments(LARGE)
    with pytest.raises(LayoutError, match="quantized: expected"):
        _cpp.backward(latents, quantized[1:], counts, upstream, losses, LARGE.layout)
    weight, indices = torch.from_numpy(LARGE.weight), torch.zeros(len(latents), 4).long()
    for codes in ((weight[1:], indices), (weight, indices[1:])):
        with pytest.raises(LayoutError, match=r"(weight|indices): expected"):
            _cpp.backward(latents, codes, counts, upstream, losses, LARGE.layout)
    with pytest.raises(LayoutError, match="got both or neither"):
        _C.quantize_backward(
            LARGE.layout.plan, latents, counts=counts, grad_losses=losses, grad_latents=upstream
        )
    with pytest.raises(LayoutError, match="counts: expected"):
        _cpp.backward(latents, quantized, counts[1:], upstream, losses, LARGE.layout)
    with pytest.raises(LayoutError, match="grad_quantized: expected"):
        _cpp.backward(latents, quantized, counts, upstream[1:], losses, LARGE.layout)
    with pytest.raises(LayoutError, match="grad_losses: expected"):
        _cpp.backward(latents, quantized, counts, upstream, losses[1:], LARGE.layout)
