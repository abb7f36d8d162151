"""The native VectorQuantize: codes, gradients, losses, shapes, learning."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from spinlock.errors import ConfigError, InputError
from spinlock.modules import (
    LevelDropout,
    Lookup,
    Regularizers,
    Shapes,
    Update,
    VectorQuantize,
)

OPTIONS: list[dict[str, Any]] = [
    {},
    {"heads": 4},
    {"heads": 4, "shared_heads": True},
    {"codebook_dim": 5},
    {"heads": 2, "codebook_dim": 3, "shared_heads": True},
    {"lookup": Lookup(similarity="cosine", estimator="rotation")},
    {"update": Update(ema=False)},
    {"update": Update(ema=False, expire_below=6.0)},
    {"update": Update(init="uniform", expire_below=2.0)},
    {"regularizers": Regularizers(orthogonal=0.1, diversity=0.1)},
    {"regularizers": Regularizers(cross_entropy=True)},
    {"lookup": Lookup(temperature=0.5)},
]


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*(shape or (3, 20, 16)), generator=torch.Generator().manual_seed(seed))


def nearest(x: Tensor, codes: Tensor) -> Tensor:
    """int64 [N] by the plain float64 sum."""
    return (x.double()[:, None] - codes.double()).square().sum(dim=2).argmin(dim=1)


def trained(**options: Any) -> VectorQuantize:
    quantizer = VectorQuantize(16, 12, **options)
    quantizer(rows(seed=9))
    return quantizer


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_decoding_gives_what_eval_mode_returned(options: dict[str, Any]) -> None:
    quantizer = trained(**options).eval()
    output = quantizer(rows())
    assert output.quantized.shape == (3, 20, 16)
    heads = options.get("heads", 1)
    assert output.indices.shape == ((3, 20) if heads == 1 else (3, 20, heads))
    torch.testing.assert_close(quantizer.decode(output.indices), output.quantized)


def test_codes_are_the_nearest_per_head() -> None:
    own, shared = trained(heads=2), trained(heads=2, shared_heads=True)
    parts = rows().view(60, 2, 8)
    found = own.eval()(rows()).indices.view(60, 2)
    for head in range(2):
        assert torch.equal(found[:, head], nearest(parts[:, head], own.codes[head]))
    found = shared.eval()(rows()).indices.view(120)
    assert torch.equal(found, nearest(parts.reshape(120, 8), shared.codes[0]))


@pytest.mark.parametrize("options", OPTIONS[:8], ids=str)
def test_a_step_moves_codes_and_returns_those_before(options: dict[str, Any]) -> None:
    quantizer = trained(**options)
    before = copy.deepcopy(quantizer).eval()
    x = rows().requires_grad_()
    output = quantizer(x)
    expected = before(rows())
    assert torch.equal(output.indices, expected.indices)
    torch.testing.assert_close(output.quantized, expected.quantized)
    (output.quantized.square().mean() + output.losses.total).backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    moved = not torch.equal(quantizer.bank.weight, before.bank.weight)
    assert moved == (quantizer.update.ema or quantizer.update.expire_below > 0)
    assert quantizer.usage().utilization.shape == (quantizer.bank.layout.num_quantizers,)


def test_straight_through_and_no_gradient() -> None:
    weights = rows(seed=2)
    for estimator in ("straight_through", "none"):
        quantizer = trained(lookup=Lookup(estimator=estimator), regularizers=Regularizers(0.0))
        x = rows().requires_grad_()
        output = quantizer(x)
        ((output.quantized * weights).sum() + output.losses.total).backward()
        expected = weights if estimator == "straight_through" else torch.zeros_like(weights)
        assert x.grad is not None
        torch.testing.assert_close(x.grad, expected)


def test_learnable_codes_follow_their_gradient() -> None:
    quantizer = trained(update=Update(ema=False))
    optimizer = torch.optim.Adam(quantizer.parameters(), 0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = quantizer(rows()).losses.total
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_padding_is_left_out(options: dict[str, Any]) -> None:
    results = []
    lengths = torch.tensor([20, 7, 0])
    mask = torch.arange(20) < lengths[:, None]
    for filling in (0.0, 50.0):
        quantizer = VectorQuantize(16, 12, **options)
        x = rows().masked_fill(~mask[..., None], filling)
        torch.manual_seed(0)
        output = quantizer(x, lengths=lengths)
        assert (output.indices[~mask] == -1).all()
        assert not output.quantized[~mask].any()
        assert not quantizer.usage().skipped.any()
        results.append((output.quantized, output.indices, output.losses, quantizer.state_dict()))
    torch.testing.assert_close(results[0], results[1])
    quantizer.eval()
    output = quantizer(rows(), mask)
    torch.testing.assert_close(quantizer.decode(output.indices), output.quantized)


def test_masked_places_keep_the_input_where_asked() -> None:
    quantizer = trained(shapes=Shapes(masked_fill="input"))
    mask = torch.arange(60).view(3, 20) % 2 > 0
    assert torch.equal(quantizer(rows(), mask).quantized[~mask], rows()[~mask])


@pytest.mark.parametrize("places", [(), (7,), (4, 5), (2, 3, 4)], ids=str)
def test_channels_first_and_last_agree(places: tuple[int, ...]) -> None:
    last = trained()
    first = VectorQuantize(16, 12, shapes=Shapes(channels_first=True))
    first.load_state_dict(last.state_dict())
    x = rows(2, *places, 16)
    moved = x.movedim(-1, 1) if places else x
    expected, output = last.eval()(x), first.eval()(moved)
    assert torch.equal(output.indices, expected.indices)
    assert output.indices.shape == (2, *places)
    assert output.quantized.shape == moved.shape
    assert torch.equal(first.decode(output.indices), output.quantized)
    if len(places) == 2:
        channels_last = moved.contiguous(memory_format=torch.channels_last)
        assert torch.equal(first(channels_last).indices, expected.indices)


def test_expired_codes_are_rows_of_the_batch() -> None:
    quantizer = VectorQuantize(16, 12, update=Update(init="uniform", expire_below=2.0))
    quantizer(rows())
    same = (quantizer.codes[0][:, None] == rows().view(1, 60, 16)).all(dim=2).any(dim=1)
    assert same.sum() >= 6
    assert ((quantizer.bank.ema_counts == 2.0) == same).all()


@pytest.mark.parametrize("shape", [(0, 16), (1, 16), (16,)], ids=str)
def test_few_rows(shape: tuple[int, ...]) -> None:
    quantizer = trained(update=Update(expire_below=2.0))
    output = quantizer(rows(*shape) if 0 not in shape else torch.zeros(shape))
    assert output.quantized.shape == shape
    assert output.losses.total.isfinite()


def test_one_code_of_one_dimension() -> None:
    quantizer = VectorQuantize(1, 1, lookup=Lookup(estimator="rotation"))
    output = quantizer(rows(5, 1))
    assert not output.indices.any()
    assert torch.allclose(quantizer.codes, rows(5, 1).mean(), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("options", OPTIONS[::3], ids=str)
def test_converted_modules(options: dict[str, Any], dtype: torch.dtype) -> None:
    quantizer = trained(**options).to(dtype)
    output = quantizer(rows().to(dtype))
    assert output.quantized.dtype == dtype
    assert quantizer.bank.ema_counts.dtype == torch.float32


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_copies_pickles_and_states_go_on_alike(options: dict[str, Any]) -> None:
    original = trained(**options)
    loaded = VectorQuantize(16, 12, **options)
    loaded.load_state_dict(original.state_dict())
    results = []
    for twin in (copy.deepcopy(original), pickle.loads(pickle.dumps(original)), loaded, original):
        torch.manual_seed(0)
        results.append((twin(rows())[:3], list(twin.state_dict().values())))
    for result in results[:-1]:
        torch.testing.assert_close(result, results[-1], rtol=0, atol=0)


def test_frozen_modules_only_count() -> None:
    quantizer = trained(update=Update(expire_below=2.0))
    quantizer.bank.frozen = True
    before = quantizer.bank.weight.clone(), quantizer.bank.ema_counts.clone()
    seen = int(quantizer.bank.epoch_counts.sum())
    quantizer(rows())
    assert torch.equal(quantizer.bank.weight, before[0])
    assert torch.equal(quantizer.bank.ema_counts, before[1])
    assert quantizer.bank.epoch_counts.sum() == seen + 60


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="heads: expected a number >= 1 that divides dim=16"):
        VectorQuantize(16, 12, heads=3)
    with pytest.raises(ConfigError, match=r"lookup\.similarity"):
        VectorQuantize(16, 12, lookup=Lookup(similarity="cosine"), update=Update(ema=False))
    with pytest.raises(ConfigError, match="orthogonal_used_only"):
        VectorQuantize(
            16, 12, heads=2, regularizers=Regularizers(orthogonal=1.0, orthogonal_used_only=True)
        )
    with pytest.raises(ConfigError, match="update: expected codes that move"):
        Update(ema=False, learnable=False)
    with pytest.raises(ConfigError, match="estimator"):
        Lookup(estimator="rotated")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at_least"):
        LevelDropout(at_least=0)
    quantizer = VectorQuantize(16, 12)
    with pytest.raises(InputError, match="x: expected floating point"):
        quantizer(rows(3, 15))
    with pytest.raises(InputError, match="at most one"):
        quantizer(rows(), mask=torch.ones(3, 20) > 0, lengths=torch.tensor([1, 2, 3]))
    with pytest.raises(InputError, match="lengths: expected shape"):
        quantizer(rows(5, 16), lengths=torch.tensor([5]))
    with pytest.raises(InputError, match=r"mask: expected torch\.bool"):
        quantizer(rows(), mask=torch.ones(3, 19) > 0)
    with pytest.raises(InputError, match=r"indices: expected \[\.\., 2\]"):
        VectorQuantize(16, 12, heads=2).decode(torch.zeros(3, 5, dtype=torch.int64))
