"""Sweeps: a plain loop over rows, quantizers and codes is the truth; no row ever becomes worse."""

from typing import Any

import pytest
import torch
from torch import nn

from spinlock.errors import InputError
from spinlock.vqvae import CategoricalVQVAEConfig, build_vqvae, synthesis
from spinlock.vqvae.synthesis import swept_tokens
from swept_models import FORMS, FULL, errors, plain_sweep, rows, trained


@pytest.mark.parametrize(
    "options",
    [
        {"hierarchy": "residual"},
        {"hierarchy": "residual", "use_ema": False},
        {"hierarchy": "residual", **FULL},
        {"hierarchy": "independent"},
        {"hierarchy": "independent", "use_ema": False},
    ],
)
def test_sweeps_are_those_of_the_plain_loop(options: dict[str, Any]) -> None:
    with torch.no_grad():
        model = trained(**options, dtype=torch.float64)
        x = rows(24, seed=4).double()
        tokens = model.get_tokens(x)
        for sweeps in (1, 2):
            tokens = plain_sweep(model, x, tokens)
            assert torch.equal(model.get_tokens(x, sweeps=sweeps), tokens)
    assert (tokens != model.get_tokens(x)).any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("hierarchy", FORMS)
def test_no_row_becomes_worse_and_many_become_better(hierarchy: str, seed: int) -> None:
    """From the encoder's codes and from any others; rows far out included."""
    model = trained(hierarchy)
    source = torch.Generator().manual_seed(seed)
    x = rows(300, seed=seed) * torch.randn(300, 1, generator=source).exp()
    sizes = torch.tensor([k for levels in model.config.codebook_sizes for k in levels])
    anything = (torch.rand(300, len(sizes), generator=source) * sizes).long()
    for start in (model.get_tokens(x), anything):
        before = errors(model, x, start)
        once, twice = model.sweep(x, start, 1), model.sweep(x, start, 2)
        assert ((once >= 0) & (once < sizes)).all()
        after = errors(model, x, once)
        assert (after <= before).all()
        assert (after < before).float().mean() > 0.5
        assert errors(model, x, twice).sum() <= after.sum()
    assert torch.equal(model.get_tokens(x, sweeps=1), model.sweep(x, model.get_tokens(x)))
    assert torch.equal(model.get_tokens(x, sweeps=0), model.get_tokens(x))


@pytest.mark.parametrize("limit", [None, 1.1])
@pytest.mark.parametrize("hierarchy", FORMS)
def test_sweeps_end_when_one_changes_nothing(
    hierarchy: str, limit: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the tokens are those of all the sweeps."""
    model, x = trained(hierarchy), rows(64)
    start = model.get_tokens(x)
    with torch.no_grad():
        tables, candidates = model._decoder_tables()
    expected, changing = start, 0
    for _ in range(40):
        swept = swept_tokens(
            x,
            expected,
            tables,
            1,
            candidates=candidates,
            own_error_limit=limit,
            bounded_by=start,
        )
        changing += int(not torch.equal(swept, expected))
        expected = swept
    visits = 0
    original = synthesis._stepped

    def counted(*arguments: Any) -> Any:
        nonlocal visits
        visits += 1
        return original(*arguments)

    monkeypatch.setattr(synthesis, "_stepped", counted)
    found = swept_tokens(x, start, tables, 40, candidates=candidates, own_error_limit=limit)
    assert torch.equal(found, expected)
    assert changing < 39
    assert visits == (changing + 1) * len(tables.quantizers)


@pytest.mark.parametrize("hierarchy", FORMS)
def test_codes_do_not_take_turns(hierarchy: str) -> None:
    """Two codes that are equally good but for rounding would, in one row of some thousand."""
    model = trained(hierarchy)
    with torch.no_grad():
        tables, candidates = model._decoder_tables()
    x = rows(4096)
    found = swept_tokens(x, model.get_tokens(x), tables, 30, candidates=candidates)
    assert torch.equal(swept_tokens(x, found, tables, 1, candidates=candidates), found)


@pytest.mark.parametrize("hierarchy", FORMS)
def test_rows_do_not_depend_on_one_another(hierarchy: str) -> None:
    model, x = trained(hierarchy), rows(600)
    tokens = model.get_tokens(x, sweeps=2)
    for start in (0, 64, 448):
        part = model.get_tokens(x[start : start + 64], sweeps=2)
        assert torch.equal(part, tokens[start : start + 64])


@pytest.mark.parametrize("hierarchy", FORMS)
def test_rows_that_are_not_finite_keep_their_tokens(hierarchy: str) -> None:
    model, x = trained(hierarchy), rows(8)
    x[2, 3], x[5, 0] = torch.nan, torch.inf
    start = torch.zeros_like(model.get_tokens(x))
    swept = model.sweep(x, start)
    assert (swept[[2, 5]] == 0).all()
    assert torch.equal(swept[[0, 7]], model.sweep(x[[0, 7]], start[:2]))


@pytest.mark.parametrize("hierarchy", FORMS)
def test_sweeping_writes_nothing_and_takes_empty_batches(hierarchy: str) -> None:
    model = trained(hierarchy, dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.get_tokens(rows(0), sweeps=1).shape == (0, 9)
    model.get_tokens(rows(), sweeps=1)
    assert model.training
    assert all(isinstance(m, nn.Module) and m.training for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_negative_number_of_sweeps_and_other_features_are_refused() -> None:
    model = trained("residual")
    with pytest.raises(InputError, match="sweeps: expected at least 0, got -1"):
        model.get_tokens(rows(2), sweeps=-1)
    with pytest.raises(InputError, match=r"\[B, 12\] .* got \[2, 5\]"):
        model.sweep(torch.zeros(2, 5), torch.zeros(2, 9, dtype=torch.int64))


def test_quantizers_of_one_code_have_nothing_to_choose() -> None:
    torch.manual_seed(0)
    config = CategoricalVQVAEConfig(
        ("a", "b"), (3, 2), latent_dims=((3, 3), (2, 2)), codebook_sizes=((1, 4), (2, 1))
    )
    model, x = build_vqvae(config), rows()[:, :5]
    model.initialize_from(x, torch.Generator().manual_seed(2))
    tokens = model.get_tokens(x, sweeps=2)
    assert (tokens[:, [0, 3]] == 0).all()
    assert (errors(model, x, tokens) <= errors(model, x, model.get_tokens(x))).all()
