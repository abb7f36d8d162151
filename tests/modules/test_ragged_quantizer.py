"""RaggedVectorQuantizer as a PyTorch module."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from cases import RaggedCase, ragged_cases
from spinlock.errors import ConfigError, InputError, LayoutError
from spinlock.modules import RaggedVectorQuantizer
from spinlock.ops import quantize

SIZES, DIMS = (8, 5, 3), (4, 2, 7)


def rows(count: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, sum(DIMS), generator=generator, dtype=torch.float32)


def trained(**options: object) -> RaggedVectorQuantizer:
    quantizer = RaggedVectorQuantizer(SIZES, DIMS, **options)  # type: ignore[arg-type]
    for seed in range(3):
        quantizer(rows(seed=seed))
    return quantizer


def same_state(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    left, right = first.state_dict(), second.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@settings(max_examples=30)
@given(ragged_cases(max_codes=30, max_dim=20))
def test_forward_is_quantize_and_decode_gives_it_back(case: RaggedCase) -> None:
    sizes, dims = zip(*(codes.shape for codes in case.codebooks), strict=True)
    quantizer = RaggedVectorQuantizer(sizes, dims, init="uniform").eval()
    quantizer.bank.weight.copy_(torch.from_numpy(case.weight))
    latents = torch.from_numpy(case.latents)
    output = quantizer(latents)
    expected = quantize(latents, quantizer.bank.weight, case.layout)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.losses.commitment, expected.commitment)
    assert torch.equal(quantizer.decode(output.indices), output.quantized)


def test_leading_dimensions_and_lists() -> None:
    quantizer = trained().eval()
    flat = quantizer(rows(24))
    shaped = quantizer(rows(24).view(2, 3, 4, -1))
    assert shaped.quantized.shape == (2, 3, 4, sum(DIMS))
    assert shaped.indices.shape == (2, 3, 4, 3)
    assert torch.equal(shaped.quantized.flatten(0, 2), flat.quantized)
    assert torch.equal(quantizer.decode(shaped.indices), shaped.quantized)
    listed = quantizer([part.view(4, 6, -1) for part in rows(24).split(list(DIMS), dim=1)])
    assert torch.equal(listed.indices.flatten(0, 1), flat.indices)
    one = quantizer(rows(1)[0])
    assert one.indices.shape == (3,)
    assert one.quantized.shape == (sum(DIMS),)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0)])
@pytest.mark.parametrize("mode", [True, False])
def test_no_rows(shape: tuple[int, ...], mode: bool) -> None:
    quantizer = trained().train(mode)
    before = copy.deepcopy(quantizer)
    output = quantizer(torch.zeros(*shape, sum(DIMS)))
    assert output.quantized.shape == (*shape, sum(DIMS))
    assert output.indices.shape == (*shape, 3)
    assert output.losses.total == 0
    assert quantizer.decode(output.indices).shape == output.quantized.shape
    assert same_state(before, quantizer)


def test_codes_are_those_before_the_update() -> None:
    quantizer = trained(decay=0.1)
    before = copy.deepcopy(quantizer).eval()
    output = quantizer(rows(seed=9))
    assert torch.equal(output.indices, before(rows(seed=9)).indices)
    assert torch.equal(output.quantized, before.decode(output.indices))
    assert not torch.equal(quantizer.bank.weight, before.bank.weight)


@pytest.mark.parametrize("use_ema", [True, False])
def test_eval_writes_nothing(use_ema: bool) -> None:
    for quantizer in (trained(use_ema=use_ema), RaggedVectorQuantizer(SIZES, DIMS)):
        before = copy.deepcopy(quantizer)
        quantizer.eval()
        quantizer(rows(seed=9))
        assert same_state(before, quantizer)


def test_first_training_batch_initialises() -> None:
    quantizer = RaggedVectorQuantizer(SIZES, DIMS, decay=0.0, seed=5)
    other = RaggedVectorQuantizer(SIZES, DIMS, decay=0.0, seed=5)
    other.initialize_from(rows())
    assert other.bank.initialized
    output, expected = quantizer(rows()), other(rows())
    assert torch.equal(output.indices, expected.indices)
    assert same_state(quantizer, other)


def test_waits_for_a_usable_batch() -> None:
    quantizer = RaggedVectorQuantizer(SIZES, DIMS)
    quantizer(torch.full((4, sum(DIMS)), torch.nan))
    quantizer(torch.zeros(0, sum(DIMS)))
    assert not quantizer.bank.initialized
    quantizer(rows())
    assert quantizer.bank.initialized


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 1 / 3), ("sum", 1.0)])
@pytest.mark.parametrize("use_ema", [True, False])
def test_total_loss(reduction: str, factor: float, use_ema: bool) -> None:
    quantizer = trained(commitment_weight=0.25, commitment_reduction=reduction, use_ema=use_ema)
    losses = quantizer(rows()).losses
    expected = 0.25 * losses.commitment.sum() * factor
    if not use_ema:
        expected = expected + losses.codebook.sum() * factor
    torch.testing.assert_close(losses.total, expected)


def test_learnable_codes_learn_by_the_codebook_loss() -> None:
    quantizer = RaggedVectorQuantizer(SIZES, DIMS, use_ema=False, init="uniform")
    assert [name for name, _ in quantizer.named_parameters()] == ["bank.weight"]
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=1.0)
    before = quantizer(rows()).losses.codebook.sum().item()
    for _ in range(20):
        optimizer.zero_grad()
        quantizer(rows()).losses.total.backward()
        optimizer.step()
    assert quantizer(rows()).losses.codebook.sum().item() < before
    assert quantizer.bank.ema_sums is None
    assert not list(RaggedVectorQuantizer(SIZES, DIMS).parameters())


def test_gradients_reach_the_latents() -> None:
    latents = rows().requires_grad_()
    quantizer = trained()
    output = quantizer(latents)
    (output.quantized.sum() + output.losses.total).backward()
    expected = (
        1.0
        + 2
        * (latents.detach() - output.quantized.detach())
        / 64
        / torch.tensor([4.0] * 4 + [2.0] * 2 + [7.0] * 7)
        / 3
    )
    torch.testing.assert_close(latents.grad, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_statistics_stay_float32(dtype: torch.dtype) -> None:
    quantizer = trained()
    state = copy.deepcopy(quantizer.bank.state_dict())
    quantizer.to(dtype)
    for name, value in quantizer.bank.state_dict().items():
        assert torch.equal(value, state[name]), name
        assert value.dtype == state[name].dtype, name
    output = quantizer(rows().to(dtype))
    assert output.quantized.dtype == dtype
    assert quantizer.bank.ema_counts.dtype == torch.float32
    quantizer.eval()
    output = quantizer(rows().to(dtype))
    decoded = quantizer.decode(output.indices)
    assert decoded.dtype == dtype
    assert torch.equal(decoded, output.quantized)


def test_learnable_codes_convert_like_parameters() -> None:
    quantizer = trained(use_ema=False).to(torch.bfloat16)
    assert quantizer.bank.weight.dtype == torch.bfloat16
    assert quantizer.bank.ema_counts.dtype == torch.float32
    output = quantizer(rows().bfloat16())
    output.losses.total.backward()
    assert quantizer.bank.weight.grad is not None
    assert quantizer.bank.weight.grad.dtype == torch.bfloat16


def by_torch_save(quantizer: RaggedVectorQuantizer) -> RaggedVectorQuantizer:
    file = io.BytesIO()
    torch.save(quantizer, file)
    file.seek(0)
    loaded: RaggedVectorQuantizer = torch.load(file, weights_only=False)
    return loaded


def by_state_dict(quantizer: RaggedVectorQuantizer) -> RaggedVectorQuantizer:
    fresh = RaggedVectorQuantizer(SIZES, DIMS, use_ema=quantizer.bank.use_ema, seed=99)
    assert not fresh.bank.initialized
    fresh.load_state_dict(quantizer.state_dict())
    return fresh


def by_pickle(quantizer: RaggedVectorQuantizer) -> RaggedVectorQuantizer:
    loaded: RaggedVectorQuantizer = pickle.loads(pickle.dumps(quantizer))
    return loaded


@pytest.mark.parametrize("use_ema", [True, False])
@pytest.mark.parametrize("via", [copy.deepcopy, by_pickle, by_torch_save, by_state_dict])
def test_copies_go_on_alike(
    via: Callable[[RaggedVectorQuantizer], RaggedVectorQuantizer], use_ema: bool
) -> None:
    quantizer = trained(use_ema=use_ema)
    twin = via(quantizer)
    assert twin.bank.initialized
    assert same_state(quantizer, twin)
    for seed in (5, 6):
        assert torch.equal(quantizer(rows(seed=seed)).quantized, twin(rows(seed=seed)).quantized)
    assert same_state(quantizer, twin)
    quantizer(rows(seed=7))
    assert not same_state(quantizer, twin)  # nothing is shared


def test_runs_repeat_bit_for_bit() -> None:
    assert same_state(trained(seed=3), trained(seed=3))
    assert not same_state(trained(seed=3), trained(seed=4))


def test_no_grad_and_inference_mode_train_statistics_as_well() -> None:
    expected = trained()
    for guard in (torch.no_grad, torch.inference_mode):
        quantizer = RaggedVectorQuantizer(SIZES, DIMS)
        with guard():
            for seed in range(3):
                quantizer(rows(seed=seed))
        assert same_state(quantizer, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_changes_nothing(dtype: torch.dtype) -> None:
    expected = trained()
    expected.revive(rows(), 2.0)
    torch.set_default_dtype(dtype)
    try:
        quantizer = RaggedVectorQuantizer(SIZES, DIMS)
        for seed in range(3):
            quantizer(rows(seed=seed))
        quantizer.revive(rows(), 2.0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert same_state(quantizer, expected)


def test_backends_agree() -> None:
    truth, *others = (trained(backend=name) for name in ("reference", "torch", "cpp"))
    for other in others:
        for name, value in truth.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value)


def test_the_numbers_of_the_layout() -> None:
    quantizer = RaggedVectorQuantizer([8, 4], [3, 2])
    assert quantizer.num_quantizers == quantizer.indices_width == 2
    assert quantizer.bits == 5.0
    assert quantizer.latent_width == 5
    assert quantizer.codebook(1).shape == (4, 2)
    assert "2 codebooks, 12 codes" in repr(quantizer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, r"decay: expected 0 <= decay < 1 .* got 1.0; it is"),
        ({"commitment_weight": -1.0}, r"commitment_weight: expected .* >= 0, got -1.0"),
        ({"commitment_reduction": "max"}, r"commitment_reduction: expected 'mean' or 'sum'"),
        ({"init": "zeros"}, r"init: expected 'kmeans' or 'uniform', got 'zeros'"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RaggedVectorQuantizer(SIZES, DIMS, **options)  # type: ignore[arg-type]


def test_shapes_and_backends_are_checked() -> None:
    with pytest.raises(InputError, match="backend: expected one of"):
        RaggedVectorQuantizer(SIZES, DIMS, backend="abacus")
    with pytest.raises(LayoutError, match="codebook_sizes"):
        RaggedVectorQuantizer(5, DIMS)  # type: ignore[arg-type]
    quantizer = trained()
    with pytest.raises(InputError, match=r"latents: expected shape \[..., 13\] .* got \[4, 12\]"):
        quantizer(torch.zeros(4, 12))
    with pytest.raises(InputError, match=r"latents: expected a list of 3 tensors, got 2"):
        quantizer([torch.zeros(4, 4), torch.zeros(4, 2)])
    with pytest.raises(InputError, match=r"latents\[1\]: expected a tensor \[..., 2\], got \[4, 3"):
        quantizer([torch.zeros(4, 4), torch.zeros(4, 3), torch.zeros(4, 7)])
    with pytest.raises(InputError, match=r"latents\[2\]: expected leading dimensions \[4\]"):
        quantizer([torch.zeros(4, 4), torch.zeros(4, 2), torch.zeros(5, 7)])
    with pytest.raises(InputError, match=r"indices: expected a torch.Tensor, got list"):
        quantizer.decode([[0, 0, 0]])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"indices: expected shape \[..., 3\] .* got \[4, 2\]"):
        quantizer.decode(torch.zeros(4, 2, dtype=torch.int64))
    with pytest.raises(InputError, match=r"indices\[:, 2\]: expected values in 0..2"):
        quantizer.decode(torch.full((4, 3), 3))
    with pytest.raises(InputError, match=r"q: expected a codebook in 0..2, got 3"):
        quantizer.codebook(3)
