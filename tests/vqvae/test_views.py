"""Encoders that see all features and the linear path from all codes: where they start, what they
reach."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.errors import ConfigError
from spinlock.vqvae import (
    CategoricalHierarchicalVQVAE,
    CategoricalVQVAEConfig,
    build_vqvae,
    plain_products,
)

SIZES = (7, 1, 4)
ENCODER, DECODER = {"encoder_inputs": "all"}, {"linear_decoder": "all"}
OPTIONS: list[dict[str, Any]] = [ENCODER, DECODER, {**ENCODER, **DECODER}]
INDEPENDENT = {"hierarchy": "independent", **ENCODER}


def make(**options: Any) -> CategoricalHierarchicalVQVAE:
    torch.manual_seed(0)
    config = CategoricalVQVAEConfig(
        ("a", "b", "c"), SIZES, compression_ratios=[0.4, 0.9, 1.3], **options
    )
    model = build_vqvae(config)
    model.initialize_from(rows(), torch.Generator().manual_seed(2))
    return model


def rows(count: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    factors = torch.randn(count, 4, generator=generator)
    mixing = torch.randn(4, sum(SIZES), generator=generator)
    return factors @ mixing + 0.1 * torch.randn(count, sum(SIZES), generator=generator)


def trained(steps: int = 3, **options: Any) -> CategoricalHierarchicalVQVAE:
    model = make(**options)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(rows()).losses["total"].backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("options", [*OPTIONS, INDEPENDENT])
def test_training_starts_from_the_model_that_sees_its_own(options: dict[str, Any]) -> None:
    x = rows(100)
    narrow = make(**{k: v for k, v in options.items() if k == "hierarchy"}).eval()
    wide = make(**options).eval()
    ours, theirs = wide.state_dict(), narrow.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert torch.equal(wide.get_tokens(x), narrow.get_tokens(x))
    torch.testing.assert_close(wide(x).reconstruction, narrow(x).reconstruction)


@pytest.mark.parametrize("options", [*OPTIONS, INDEPENDENT])
def test_every_parameter_learns(options: dict[str, Any]) -> None:
    model = trained(steps=3, **options)
    model.zero_grad()
    model(rows()).losses["total"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("hierarchy", ["residual", "independent"])
def test_latents_hang_on_other_categories_only_if_encoders_see_them(hierarchy: str) -> None:
    x = rows(5)
    changed = x.clone()
    changed[:, SIZES[0] :] += 1.0
    for options, same in (({}, True), (ENCODER, False)):
        model = trained(hierarchy=hierarchy, **options)
        dims = model.config.latent_dims[0]
        width = max(dims) if hierarchy == "residual" else sum(dims)
        before, after = (model.encode(each)[:, :width] for each in (x, changed))
        assert torch.equal(before, after) is same


def test_codes_reach_other_categories_through_the_linear_decoder() -> None:
    model = trained(**DECODER)
    model.decoder[3].weight.data.zero_()
    width = max(model.config.latent_dims[0])
    quantized = torch.zeros(1, sum(max(dims) for dims in model.config.latent_dims))
    before = model.decode(quantized)
    quantized[:, :width] = 1.0
    assert (model.decode(quantized) != before)[:, SIZES[0] :].all()


@pytest.mark.parametrize("options", OPTIONS)
def test_the_core_and_plain_products_agree(options: dict[str, Any]) -> None:
    model, x = trained(**options), rows(100)
    gradients = []
    for products in (False, True):
        model.zero_grad()
        if products:
            with plain_products():
                found = model(x)
                found.losses["total"].backward()
        else:
            found = model(x)
            found.losses["total"].backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_refits_reach_the_linear_decoder() -> None:
    model = trained(**DECODER)
    names = {id(p): name for name, p in model.named_parameters()}
    reached = {names[id(p)] for p in model.decoder_parameters()}
    assert reached == {n for n in names.values() if n.startswith(("decoder", "full", "synthesis"))}


def test_the_independent_form_has_no_linear_decoder() -> None:
    with pytest.raises(ConfigError, match="linear_decoder 'all' belongs to hierarchy 'residual'"):
        make(hierarchy="independent", **DECODER)
    with pytest.raises(ConfigError, match="encoder_inputs: expected 'own' or 'all', got 'both'"):
        make(encoder_inputs="both")
