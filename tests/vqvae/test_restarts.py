"""Sweeps that begin anew: closer tokens for many rows, worse ones for none."""

from typing import Any

import pytest
import torch

from spinlock.errors import InputError
from spinlock.vqvae.restarts import displaced
from swept_models import FORMS, FULL, errors, rows, trained


@pytest.mark.parametrize(
    "options", [{"hierarchy": "residual"}, {"hierarchy": "residual", **FULL},
                {"hierarchy": "independent"}]
)  # fmt: skip
def test_restarts_are_sweeps_from_displaced_tokens(options: dict[str, Any]) -> None:
    with torch.no_grad():
        model, x = trained(**options), rows(200, seed=3)
        sizes = [size for levels in model.config.codebook_sizes for size in levels]
        best = model.get_tokens(x, sweeps=2)
        for start in range(1, 5):
            found = model.sweep(x, displaced(best, sizes, start), 2)
            closer = errors(model, x, found) < errors(model, x, best)
            best = torch.where(closer[:, None], found, best)
            assert torch.equal(model.get_tokens(x, sweeps=2, restarts=start), best)
    assert (best != model.get_tokens(x, sweeps=2)).any()


@pytest.mark.parametrize("hierarchy", FORMS)
def test_no_row_becomes_worse_and_rows_do_not_depend_on_one_another(hierarchy: str) -> None:
    model, x = trained(hierarchy), rows(600)
    x[5, 0] = torch.nan
    before = errors(model, x, model.get_tokens(x, sweeps=1))
    tokens = model.get_tokens(x, sweeps=1, restarts=6)
    after = errors(model, x, tokens)
    finite = x.isfinite().all(1)
    assert (after <= before)[finite].all()
    assert after[finite].sum() < 0.999 * before[finite].sum()
    assert torch.equal(tokens[5], model.get_tokens(x)[5])
    for start in (64, 448):
        part = model.get_tokens(x[start : start + 64], sweeps=1, restarts=6)
        assert torch.equal(part, tokens[start : start + 64])
    assert model.get_tokens(rows(0), sweeps=1, restarts=2).shape == (0, 9)


@pytest.mark.parametrize("limit", [1.0, 1.2])
def test_own_errors_stay_in_bounds_of_the_tokens_at_the_start(limit: float) -> None:
    model, x = trained("residual", **FULL), rows(300, seed=4)
    before = model.own_errors(x, model.get_tokens(x))
    bound = model.get_tokens(x, sweeps=2, own_error_limit=limit, restarts=8)
    free = model.get_tokens(x, sweeps=2, restarts=8)
    assert (model.own_errors(x, free) > limit * before * (1 + 1e-4)).any()
    assert (model.own_errors(x, bound) <= limit * before * (1 + 1e-4) + 1e-6).all()
    once = model.get_tokens(x, sweeps=2, own_error_limit=limit)
    totals = [float(errors(model, x, tokens).sum()) for tokens in (once, bound, free)]
    assert totals[0] > totals[1] > totals[2]


def test_every_start_displaces_tokens_within_their_codebooks() -> None:
    sizes = [1, 2, 9, 256, 5, 3]
    tokens = torch.stack([torch.zeros(6), torch.tensor(sizes) - 1.0]).long()
    seen = set()
    for start in range(1, 40):
        found = displaced(tokens, sizes, start)
        assert ((found >= 0) & (found < torch.tensor(sizes))).all()
        assert (found[:, 0] == 0).all()
        changed = (found != tokens).any(0)
        assert torch.equal((found != tokens).all(0), changed)
        seen.add(tuple(changed.tolist()))
    assert len(seen) > 10


def test_restarts_of_nothing_are_refused() -> None:
    model = trained("residual")
    with pytest.raises(InputError, match="restarts: expected at least 0, got -1"):
        model.get_tokens(rows(2), sweeps=1, restarts=-1)
    with pytest.raises(InputError, match="restarts: 3 of no sweeps"):
        model.get_tokens(rows(2), restarts=3)
