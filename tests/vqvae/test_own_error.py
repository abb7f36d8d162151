"""What a category's tokens alone say of it, against decoding with mean latents; the bound on it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.errors import InputError
from swept_models import FORMS, FULL, SIZES, errors, plain_sweep, rows, trained

MODELS: list[dict[str, Any]] = [{"hierarchy": form} for form in FORMS]
MODELS.append({"hierarchy": "residual", **FULL})


def after_training(**options: Any) -> Any:
    """Codes that are used unequally, as they are after training."""
    model = trained(**options)
    counts = model.quantizer.bank.ema_counts
    counts.copy_(torch.rand(counts.shape, generator=torch.Generator().manual_seed(5)) + 0.1)
    return model


def mean_latents(model: Any) -> tuple[Tensor, list[int]]:
    """The mean of what the quantizer gives ``[W]``, by its counts, and each category's width."""
    config = model.config
    parts = []
    for c, dims in enumerate(config.latent_dims):
        means = []
        for level, dim in enumerate(dims):
            if config.hierarchy == "residual":
                q, codes = level * len(SIZES) + c, model.quantizer.codebook(c, level)
            else:
                q = c * config.num_levels + level
                codes = model.quantizer.codebook(q)
            first = model.quantizer.layout.code_offsets[q]
            counts = model.quantizer.bank.ema_counts[first : first + len(codes)]
            mean = (counts / counts.sum()) @ codes
            assert mean.shape == (dim,)
            means.append(mean)
        if config.hierarchy == "residual":
            summed = torch.zeros(max(dims))
            for mean in means:
                summed[: len(mean)] += mean
            parts.append(summed)
        else:
            parts.append(torch.cat(means))
    return torch.cat(parts), [len(part) for part in parts]


@pytest.mark.parametrize("options", MODELS)
def test_own_errors_are_those_of_decoding_with_the_others_at_their_mean(
    options: dict[str, Any],
) -> None:
    model, x = after_training(**options).eval(), rows(50)
    tokens = model.get_tokens(x)
    found = model.own_errors(x, tokens)
    assert found.shape == (50, len(SIZES))
    quantized = model.quantizer.decode(tokens)
    mean, widths = mean_latents(model)
    latent = column = 0
    with torch.no_grad():
        for c, (width, size) in enumerate(zip(widths, SIZES, strict=True)):
            alone = mean.expand(50, -1).clone()
            alone[:, latent : latent + width] = quantized[:, latent : latent + width]
            wanted = slice(column, column + size)
            missed = (model.decode(alone) - x)[:, wanted].square().mean(1)
            torch.testing.assert_close(found[:, c], missed, rtol=1e-3, atol=1e-5)
            latent, column = latent + width, column + size


@pytest.mark.parametrize("limit", [1.0, 1.2])
@pytest.mark.parametrize("options", MODELS)
def test_sweeps_keep_own_errors_in_bounds(options: dict[str, Any], limit: float) -> None:
    model, x = after_training(**options), rows(300, seed=4)
    start = model.get_tokens(x)
    free = model.get_tokens(x, sweeps=2)
    bound = model.get_tokens(x, sweeps=2, own_error_limit=limit)
    before = model.own_errors(x, start)
    assert (model.own_errors(x, free) > limit * before * (1 + 1e-4)).any()
    assert (model.own_errors(x, bound) <= limit * before * (1 + 1e-4) + 1e-6).all()
    totals = [float(errors(model, x, tokens).sum()) for tokens in (start, bound, free)]
    assert totals[0] > totals[1] > totals[2]
    without = model.get_tokens(x, sweeps=2, own_error_limit=math.inf)
    assert torch.equal(without, free)


@pytest.mark.parametrize("options", MODELS)
def test_bound_sweeps_are_those_of_the_plain_loop(options: dict[str, Any]) -> None:
    with torch.no_grad():
        model = after_training(**options, dtype=torch.float64)
        x = rows(12, seed=4).double()
        start = tokens = model.get_tokens(x)
        for sweeps in (1, 2):
            tokens = plain_sweep(model, x, tokens, 1.1, start)
            assert torch.equal(model.sweep(x, start, sweeps, own_error_limit=1.1), tokens)


def test_rows_that_are_not_finite_and_empty_batches_go_through() -> None:
    model, x = after_training(hierarchy="residual"), rows(4)
    x[1, 3] = torch.nan
    start = torch.zeros_like(model.get_tokens(x))
    assert (model.sweep(x, start, own_error_limit=1.0)[1] == 0).all()
    assert model.get_tokens(rows(0), sweeps=1, own_error_limit=1.0).shape == (0, 9)
    assert model.own_errors(rows(0), start[:0]).shape == (0, 3)


@pytest.mark.parametrize("limit", [0.9, -1.0, math.nan])
def test_a_bound_below_one_is_refused(limit: float) -> None:
    model = trained("residual")
    with pytest.raises(InputError, match="own_error_limit: expected at least 1, got"):
        model.get_tokens(rows(2), sweeps=1, own_error_limit=limit)
