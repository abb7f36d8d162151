"""The native residual forms: levels, gradients, dropout, sharing, beams, groups."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.errors import ConfigError, InputError
from spinlock.modules import (
    GroupedResidualVQ,
    LevelDropout,
    Lookup,
    Regularizers,
    ResidualVQ,
    Shapes,
    Update,
)

OPTIONS: list[dict[str, Any]] = [
    {},
    {"codebook_dim": 5},
    {"shared_codebooks": True},
    {"shared_codebooks": True, "update": Update(expire_below=1.0)},
    {"dropout": LevelDropout()},
    {"dropout": LevelDropout(at_least=2), "shared_codebooks": True},
    {"lookup": Lookup(estimator="rotation")},
    {"lookup": Lookup(similarity="cosine")},
    {"update": Update(ema=False)},
    {"regularizers": Regularizers(orthogonal=0.1, diversity=0.1)},
    {"beam": 4},
]
KINDS = (ResidualVQ, GroupedResidualVQ)


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*(shape or (3, 20, 16)), generator=torch.Generator().manual_seed(seed))


def trained(kind: Any = ResidualVQ, **options: Any) -> Any:
    torch.manual_seed(5)
    quantizer = kind(16, 12, 4, **options)
    quantizer(rows(seed=9))
    quantizer(rows(seed=8))
    return quantizer


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_decoding_gives_what_eval_mode_returned(kind: Any, options: dict[str, Any]) -> None:
    quantizer = trained(kind, **options).eval()
    output = quantizer(rows())
    groups = (2,) if kind is GroupedResidualVQ else ()
    assert output.indices.shape == (3, 20, *groups, 4)
    torch.testing.assert_close(quantizer.decode(output.indices), output.quantized)
    mask = torch.arange(60).view(3, 20) % 3 > 0
    masked = quantizer(rows(), mask)
    assert torch.equal(masked.indices[mask], output.indices[mask])
    torch.testing.assert_close(quantizer.decode(masked.indices), masked.quantized)
    assert (masked.indices[~mask] == -1).all()


def test_levels_take_what_is_left() -> None:
    quantizer = trained().eval()
    output = quantizer(rows())
    residual = rows().view(60, 16)
    for level, layer in enumerate(quantizer.levels):
        codes = layer.codes[0]
        away = (residual.double()[:, None] - codes.double()).square().sum(dim=2)
        index = output.indices.view(60, 4)[:, level]
        assert torch.equal(index, away.argmin(dim=1))
        residual = residual - codes[index]
        coarse = quantizer.decode(output.indices[..., : level + 1])
        torch.testing.assert_close(rows().view(60, 16) - coarse.view(60, 16), residual)


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimator_acts_once_on_the_sum(kind: Any) -> None:
    weights = rows(seed=2)
    for estimator in ("straight_through", "none"):
        lookup, off = Lookup(estimator=estimator), Regularizers(commitment=0.0)
        x = rows().requires_grad_()
        output = trained(kind, lookup=lookup, regularizers=off)(x)
        ((output.quantized * weights).sum() + output.losses.total).backward()
        expected = weights if estimator == "straight_through" else torch.zeros_like(weights)
        assert x.grad is not None
        torch.testing.assert_close(x.grad, expected)


def test_rotation_keeps_the_angle_to_the_sum() -> None:
    quantizer = trained(lookup=Lookup(estimator="rotation"), regularizers=Regularizers(0.0))
    x = rows().requires_grad_()
    output = quantizer(x)
    output.quantized.square().sum().mul(0.5).backward()  # the gradient is the quantized row
    assert x.grad is not None
    aligned = torch.cosine_similarity(x.grad, x.detach(), dim=-1)
    torch.testing.assert_close(aligned, torch.ones_like(aligned))


@pytest.mark.parametrize("options", OPTIONS[:10], ids=str)
def test_a_step_learns_and_pulls(options: dict[str, Any]) -> None:
    quantizer = trained(**options)
    before = copy.deepcopy(quantizer.state_dict())
    x = rows().requires_grad_()
    output = quantizer(x)
    output.losses.total.backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert output.losses.commitment.shape == (4,)
    changed = [
        not torch.equal(value, before[name]) for name, value in quantizer.state_dict().items()
    ]
    assert any(changed)


def test_commitment_is_what_each_level_leaves() -> None:
    quantizer = trained().eval()
    output = quantizer(rows())
    for level in range(4):
        left = rows() - quantizer.decode(output.indices[..., : level + 1])
        torch.testing.assert_close(output.losses.commitment[level], left.square().mean())


def test_dropped_levels_are_marked_and_learn_nothing() -> None:
    quantizer = trained(dropout=LevelDropout())
    seen = set()
    for _ in range(30):
        before = [layer.bank.ema_counts.clone() for layer in quantizer.levels]
        output = quantizer(rows())
        used = int((output.indices[0, 0] >= 0).sum())
        assert (output.indices[..., :used] >= 0).all()
        assert (output.indices[..., used:] == -1).all()
        assert not output.losses.commitment[used:].any()
        for level, layer in enumerate(quantizer.levels):
            assert torch.equal(layer.bank.ema_counts, before[level]) == (level >= used)
        seen.add(used)
    assert seen == {1, 2, 3, 4}
    quantizer = trained(dropout=LevelDropout(at_least=3, multiple_of=2))
    assert {int((quantizer(rows()).indices[0, 0] >= 0).sum()) for _ in range(9)} == {4}


def test_shared_codebooks_learn_once_from_all_levels() -> None:
    quantizer = trained(shared_codebooks=True)
    bank = quantizer.levels[0].bank
    assert all(layer.bank is bank for layer in quantizer.levels)
    before = bank.ema_counts.clone()
    output = quantizer(rows())
    rows_per_code = torch.bincount(output.indices.flatten(), minlength=12)
    expected = before.lerp(rows_per_code.float(), 1 - bank.decay)
    torch.testing.assert_close(bank.ema_counts, expected)
    assert quantizer.usage().utilization.shape == (1,)


def test_beams_never_leave_more() -> None:
    quantizer = trained().eval()
    nearest = (rows() - quantizer(rows()).quantized).square().sum(dim=-1)
    quantizer.beam = 5
    searched = (rows() - quantizer(rows()).quantized).square().sum(dim=-1)
    assert (searched <= nearest + 1e-5).all()
    assert searched.mean() < 0.98 * nearest.mean()
    for layer in quantizer.levels:
        assert layer.usage().utilization.shape == (1,)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_per_level_and_images(kind: Any) -> None:
    quantizer = kind(16, (12, 7, 3), shapes=Shapes(channels_first=True))
    output = quantizer(rows(2, 16, 3, 5))
    groups = (2,) if kind is GroupedResidualVQ else ()
    assert output.indices.shape == (2, 3, 5, *groups, 3)
    output = quantizer.eval()(rows(2, 16, 3, 5))
    torch.testing.assert_close(quantizer.decode(output.indices), output.quantized)
    assert quantizer.usage().utilization.shape == (6 if groups else 3,)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_not_finite_stay_alone(kind: Any) -> None:
    quantizer = trained(kind, update=Update(expire_below=1.0))
    x = rows()
    x[1, 4, 3], x[2, 0] = torch.nan, torch.inf
    x.requires_grad_()
    output = quantizer(x)
    assert output.quantized.isfinite().all()
    (output.quantized.sum() + output.losses.total).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(value.isfinite().all() for value in quantizer.state_dict().values())


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_states_go_on_alike(kind: Any, options: dict[str, Any]) -> None:
    original = trained(kind, **options)
    loaded = kind(16, 12, 4, **options)
    loaded.load_state_dict(original.state_dict())
    results = []
    for twin in (copy.deepcopy(original), pickle.loads(pickle.dumps(original)), loaded, original):
        torch.manual_seed(0)
        results.append((twin(rows())[:3], list(twin.state_dict().values())))
    for result in results[:-1]:
        torch.testing.assert_close(result, results[-1], rtol=0, atol=0)


def test_refusals() -> None:
    for options, match in (
        ({"beam": 0}, "beam"),
        ({"beam": 2, "lookup": Lookup(similarity="cosine")}, "beam"),
        ({"dropout": LevelDropout(at_least=5)}, r"dropout\.at_least"),
    ):
        with pytest.raises(ConfigError, match=match):
            ResidualVQ(16, 12, 4, **options)
    with pytest.raises(ConfigError, match="num_levels"):
        ResidualVQ(16, 12)
    with pytest.raises(ConfigError, match="num_levels"):
        ResidualVQ(16, (12, 8), 3)
    with pytest.raises(ConfigError, match="codebook_size"):
        ResidualVQ(16, (12, 8), shared_codebooks=True)
    with pytest.raises(ConfigError, match="groups"):
        GroupedResidualVQ(16, 12, 2, groups=3)
    with pytest.raises(InputError, match="indices: expected"):
        ResidualVQ(16, 12, 2).decode(torch.zeros(4, 3, dtype=torch.int64))
    with pytest.raises(InputError, match="indices: expected"):
        GroupedResidualVQ(16, 12, 2).decode(torch.zeros(4, 3, 2, dtype=torch.int64))
