"""Both forms of the VQ-VAE: shapes, round trips, state, losses, what training starts from."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.errors import InputError
from spinlock.vqvae import CategoricalHierarchicalVQVAE, CategoricalVQVAEConfig, build_vqvae
from spinlock.vqvae.residual import principal_axes

SIZES = (7, 1, 4)
FORMS = ["residual", "independent"]


def make(hierarchy: str = "residual", levels: int = 3, **options: Any) -> Any:
    torch.manual_seed(0)
    ratios = [0.4 + 0.5 * level for level in range(levels)]
    config = CategoricalVQVAEConfig(
        category_names=("a", "b", "c"),
        category_sizes=SIZES,
        compression_ratios=ratios,
        hierarchy=hierarchy,  # type: ignore[arg-type]
        **options,
    )
    return build_vqvae(config)


def rows(count: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    factors = torch.randn(count, 4, generator=generator)
    mixing = torch.randn(4, sum(SIZES), generator=generator)
    return factors @ mixing + 0.1 * torch.randn(count, sum(SIZES), generator=generator)


def initialised(model: CategoricalHierarchicalVQVAE, x: Tensor) -> CategoricalHierarchicalVQVAE:
    model.initialize_from(x, torch.Generator().manual_seed(2))
    return model


@pytest.mark.parametrize("hierarchy", FORMS)
@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_shapes_and_token_round_trip(hierarchy: str, levels: int) -> None:
    x = rows()
    model = initialised(make(hierarchy, levels), x).eval()
    output = model(x)
    assert output.reconstruction.shape == x.shape
    assert output.indices.shape == (len(x), 3 * levels)
    tokens = model.get_tokens(x)
    assert torch.equal(tokens, output.indices)
    torch.testing.assert_close(model.decode_from_tokens(tokens), output.reconstruction)
    by_category = model.get_category_tokens(x)
    assert list(by_category) == ["a", "b", "c"]
    assert torch.equal(torch.cat(list(by_category.values()), 1), tokens)
    sizes = torch.tensor([k for row in model.config.codebook_sizes for k in row])
    assert ((tokens >= 0) & (tokens < sizes)).all()


@pytest.mark.parametrize("hierarchy", FORMS)
def test_total_is_the_sum_of_its_parts(hierarchy: str) -> None:
    x = rows()
    options: dict[str, Any] = {"use_ema": False, "commitment_cost": 0.3}
    if hierarchy == "independent":
        for name in ("orthogonality", "informativeness", "topographic"):
            options[f"{name}_weight"] = 0.1
    losses = initialised(make(hierarchy, **options), x)(x).losses
    total = losses.pop("total")
    expected = {"reconstruction", "commitment", "codebook"}
    if hierarchy == "independent":
        expected |= {"orthogonality", "informativeness", "topographic"}
    assert losses.keys() == expected
    torch.testing.assert_close(total, torch.stack(list(losses.values())).sum())
    assert all(value > 0 for value in losses.values())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("hierarchy", FORMS)
def test_commitment_is_weighted_and_reduced_once(hierarchy: str, reduction: str) -> None:
    x = rows()
    model = make(hierarchy, commitment_cost=0.25, commitment_reduction=reduction)
    model = initialised(model, x).eval()
    per_quantizer = model.quantize(model.encode(x)).losses.commitment
    assert per_quantizer.shape == (9,)
    reduced = per_quantizer.mean() if reduction == "mean" else per_quantizer.sum()
    torch.testing.assert_close(model(x).losses["commitment"], 0.25 * reduced)


@pytest.mark.parametrize("use_ema", [True, False])
@pytest.mark.parametrize("hierarchy", FORMS)
def test_every_parameter_learns_and_eval_writes_nothing(hierarchy: str, use_ema: bool) -> None:
    x = rows()
    model = initialised(make(hierarchy, use_ema=use_ema), x)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(2):  # zero-initialised last layers hide the layers before them for one step
        optimizer.zero_grad()
        model(x).losses["total"].backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    model.eval()
    before = copy.deepcopy(model.state_dict())
    model(x + 1.0)
    model.get_tokens(x + 1.0)
    model.train()
    model.get_tokens(x + 1.0)
    assert model.training
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_training_moves_ema_codebooks_towards_the_data() -> None:
    x = rows()
    model = initialised(make(), x)
    before = model.quantizer.bank.weight.clone()
    model(x * 1.5)
    assert not torch.equal(before, model.quantizer.bank.weight)


def test_residual_starts_as_pca() -> None:
    x = rows()
    model = initialised(make(levels=1), x).eval()
    widths = [max(dims) for dims in model.config.latent_dims]
    latents = model.encode(x).split(widths, dim=1)
    columns = x.split(SIZES, dim=1)
    for features, width, latent in zip(columns, widths, latents, strict=True):
        axes = principal_axes(features)[:, :width].float()
        torch.testing.assert_close(latent, features @ axes, rtol=1e-4, atol=1e-4)


def test_residual_with_all_axes_loses_nothing_but_to_quantization() -> None:
    x = rows()
    torch.manual_seed(0)
    config = CategoricalVQVAEConfig(("a", "b", "c"), SIZES, compression_ratios="2.0")
    assert config.latent_dims == tuple((size,) for size in SIZES)
    model = initialised(build_vqvae(config), x).eval()
    torch.testing.assert_close(model.decode(model.encode(x)), x, rtol=1e-3, atol=1e-4)


def test_residual_starts_as_pca_with_residual_quantization() -> None:
    """Against loops over categories and levels in float64: tokens, reconstruction, commitment."""
    x = rows(200)
    model = initialised(make(levels=3), x).eval()
    reconstruction, tokens, commitment = [], [], []
    for c, features in enumerate(x.double().split(SIZES, dim=1)):
        dims = model.config.latent_dims[c]
        axes = principal_axes(features)[:, : max(dims)]
        left = features @ axes
        total = torch.zeros_like(left)
        for level, dim in enumerate(dims):
            book = model.quantizer.codebook(c, level).double()
            squares = (left[:, None, :dim] - book).square().sum(2)
            least, index = squares.min(1)
            left[:, :dim] -= book[index]
            total[:, :dim] += book[index]
            tokens.append(index)
            commitment.append(least.mean() / dim)
        reconstruction.append(total @ axes.T)
    output = model(x)
    assert torch.equal(output.indices, torch.stack(tokens, 1))
    expected = torch.cat(reconstruction, 1).float()
    torch.testing.assert_close(output.reconstruction, expected, rtol=1e-4, atol=1e-5)
    expected = torch.stack(commitment).mean().float()
    torch.testing.assert_close(output.losses["commitment"], expected, rtol=1e-4, atol=1e-6)


def test_more_levels_leave_less_error() -> None:
    x = rows(256)
    errors = []
    for levels in (1, 2, 3):
        model = initialised(make(levels=levels), x).eval()
        errors.append(model(x).losses["reconstruction"].item())
    assert errors[0] > errors[1] > errors[2]


def test_principal_axes_are_orthonormal_sorted_and_signed() -> None:
    x = rows()
    axes = principal_axes(x)
    torch.testing.assert_close(axes.T @ axes, torch.eye(x.shape[1], dtype=torch.float64))
    variance = ((x - x.mean(0)).double() @ axes).var(0)
    assert (variance.diff() <= 1e-9).all()
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("hierarchy", FORMS)
def test_an_uninitialised_model_trains_and_decodes(hierarchy: str) -> None:
    x = rows()
    model = make(hierarchy)
    model(x).losses["total"].backward()
    assert torch.isfinite(model.decode_from_tokens(model.get_tokens(x))).all()


@pytest.mark.parametrize("hierarchy", FORMS)
def test_features_that_do_not_fit_say_what_was_expected(hierarchy: str) -> None:
    model = make(hierarchy)
    for width in (11, 13):
        for call in (model, model.encode, model.get_tokens):
            with pytest.raises(InputError, match=rf"\[B, 12\] .* got \[2, {width}\]"):
                call(torch.zeros(2, width))
    with pytest.raises(InputError, match=r"features: expected .* got torch.int64"):
        model(torch.zeros(2, 12, dtype=torch.int64))
    with pytest.raises(InputError, match=r"features: expected .* got list"):
        model([[0.0] * 12])


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("hierarchy", FORMS)
def test_tiny_batches(hierarchy: str, count: int) -> None:
    weights = ("orthogonality_weight", "informativeness_weight", "topographic_weight")
    options = dict.fromkeys(weights, 0.1) if hierarchy == "independent" else {}
    x = rows()
    model = initialised(make(hierarchy, **options), x)
    before = model.quantizer.bank.weight.clone()
    output = model(x[:count])
    output.losses["total"].backward()
    assert (output.losses["total"].item() == 0.0) == (count == 0)
    assert torch.equal(before, model.quantizer.bank.weight) == (count == 0)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    tokens = model.get_tokens(x[:count])
    assert model.decode_from_tokens(tokens).shape == (count, 12)


@pytest.mark.parametrize("hierarchy", FORMS)
def test_usage_and_revival_reach_the_quantizer(hierarchy: str) -> None:
    x = rows()
    model = initialised(make(hierarchy), x)
    model.reset_usage()
    model(x)
    usage = model.usage()
    assert len(usage.utilization) == 9
    assert 0 < float(max(usage.utilization)) <= 1
    assert model.revive(x, 0.0, torch.Generator().manual_seed(0)) == 0
    assert model.revive(x, 1e9, torch.Generator().manual_seed(0)) > 0
