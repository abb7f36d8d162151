"""Nested residual levels against a plain loop over categories and levels."""

import copy
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from spinlock.errors import InputError, LayoutError
from spinlock.modules import NestedResidualQuantizer, RaggedVectorQuantizer

SIZES = [[8, 4, 4], [6, 5, 3]]
DIMS = [[2, 5, 3], [4, 4, 1]]
WIDTHS = (5, 4)


def rows(count: int = 80, width: int = sum(WIDTHS), seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def plain_loop(
    quantizer: NestedResidualQuantizer, latents: Tensor, dims: list[list[int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """(quantized, indices, commitment) by the definition, one codebook at a time."""
    quantized, indices, commitment = [], [], []
    offset = 0
    for c, levels in enumerate(dims):
        width = max(levels)
        left = latents[:, offset : offset + width].detach().clone()
        total = torch.zeros_like(left)
        for level, dim in enumerate(levels):
            book = quantizer.codebook(c, level).detach()
            nearest = torch.cdist(
                left[:, :dim].double(), book.double(), compute_mode="donot_use_mm_for_euclid_dist"
            ).argmin(dim=1)
            codes = book[nearest]
            commitment.append((left[:, :dim] - codes).square().mean())
            left[:, :dim] -= codes
            total[:, :dim] += codes
            indices.append(nearest)
        quantized.append(total)
        offset += width
    return torch.cat(quantized, dim=1), torch.stack(indices, dim=1), torch.stack(commitment)


@settings(max_examples=40)
@given(st.data())
def test_forward_follows_the_plain_loop(data: st.DataObject) -> None:
    categories, levels = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    table = st.lists(st.integers(1, 9), min_size=levels, max_size=levels)
    sizes = data.draw(st.lists(table, min_size=categories, max_size=categories))
    dims = data.draw(st.lists(table, min_size=categories, max_size=categories))
    quantizer = NestedResidualQuantizer(sizes, dims, init="kmeans")
    assert quantizer.category_widths == tuple(max(d) for d in dims)
    latents = rows(30, quantizer.latent_width, seed=data.draw(st.integers(0, 99)))
    quantizer.initialize_from(latents)
    output = quantizer.eval()(latents)
    quantized, indices, commitment = plain_loop(quantizer, latents, dims)
    assert torch.equal(output.indices, indices)
    torch.testing.assert_close(output.quantized, quantized)
    torch.testing.assert_close(output.losses.commitment, commitment)
    assert torch.equal(quantizer.decode(output.indices), output.quantized)


def test_one_level_of_full_width_is_the_ragged_quantizer() -> None:
    # On one backend whose averages are rounded alike, fused or not.
    nested = NestedResidualQuantizer([[8], [5]], [[3], [4]], seed=2, backend="torch")
    ragged = RaggedVectorQuantizer([8, 5], [3, 4], seed=2, backend="torch")
    for seed in range(3):
        ours, other = nested(rows(width=7, seed=seed)), ragged(rows(width=7, seed=seed))
        assert torch.equal(ours.indices, other.indices)
        assert torch.equal(ours.quantized, other.quantized)
        assert torch.equal(ours.losses.total, other.losses.total)
    assert torch.equal(nested.bank.weight, ragged.bank.weight)


def test_gradients_straight_through_and_commitment() -> None:
    quantizer = NestedResidualQuantizer(SIZES, DIMS, commitment_reduction="sum")
    quantizer.initialize_from(rows())
    quantizer.eval()
    latents = rows().requires_grad_()
    output = quantizer(latents)
    cotangent = rows(seed=5)
    (through,) = torch.autograd.grad(
        (output.quantized * cotangent).sum(), latents, retain_graph=True
    )
    assert torch.equal(through, cotangent)

    plain = rows().requires_grad_()
    expected = torch.zeros(())
    with torch.no_grad():
        levels, _, _ = quantizer._descend(plain)
    for q, dim in enumerate(quantizer.layout.dims):
        c = q % 2
        code = quantizer._descend(plain)[1].quantized[
            :, slice(*quantizer.layout.input_range(q, q + 1))
        ]
        coordinates = plain[:, sum(WIDTHS[:c]) : sum(WIDTHS[:c]) + dim]
        before = coordinates.detach() - levels[:, slice(*quantizer.layout.input_range(q, q + 1))]
        expected = expected + (coordinates - before - code).square().mean()
    torch.testing.assert_close(output.losses.total, expected)
    (ours,) = torch.autograd.grad(output.losses.total, latents)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, plain)[0])


def test_learnable_codes_get_gradients_of_their_own_level_only() -> None:
    quantizer = NestedResidualQuantizer(SIZES, DIMS, use_ema=False)
    quantizer(rows())
    output = quantizer(rows())
    output.losses.codebook[1].backward()  # category 0, level 1
    grad = quantizer.bank.weight.grad
    assert grad is not None
    layout = quantizer.layout
    touched = [
        q
        for q in range(layout.num_quantizers)
        if grad[slice(*layout.weight_range(q, q + 1))].abs().sum() > 0
    ]
    assert touched == [2]  # level-major: c0 L0, c1 L0, c0 L1


def test_initialisation_lowers_the_error_at_each_level() -> None:
    latents = rows(500)
    quantizer = NestedResidualQuantizer([[16, 16, 16]], [[9, 9, 9]])
    quantizer.initialize_from(latents)
    commitment = quantizer.eval()(latents).losses.commitment
    assert commitment[0] > 1.2 * commitment[1] > 1.4 * commitment[2]


def test_first_training_batch_initialises_every_level() -> None:
    quantizer = NestedResidualQuantizer(SIZES, DIMS, seed=1)
    other = NestedResidualQuantizer(SIZES, DIMS, seed=1)
    other.initialize_from(rows())
    assert torch.equal(quantizer(rows()).indices, other(rows()).indices)
    assert torch.equal(quantizer.bank.weight, other.bank.weight)
    assert quantizer.bank.initialized


def test_codes_are_those_before_the_update_and_eval_writes_nothing() -> None:
    quantizer = NestedResidualQuantizer(SIZES, DIMS, decay=0.1)
    quantizer(rows())
    before = copy.deepcopy(quantizer).eval()
    expected = before(rows(seed=3))
    state = {name: value.clone() for name, value in before.state_dict().items()}
    output = quantizer(rows(seed=3))
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    assert not torch.equal(quantizer.bank.weight, before.bank.weight)
    assert all(torch.equal(state[name], value) for name, value in before.state_dict().items())


def test_revive_goes_down_the_levels() -> None:
    quantizer = NestedResidualQuantizer(SIZES, DIMS)
    latents = rows(300)
    quantizer.initialize_from(latents)
    quantizer.bank.ema_counts[::3] = 0.0
    dead = int((quantizer.bank.ema_counts == 0).sum())
    error = quantizer.eval()(latents).losses.commitment
    revived = quantizer.revive(latents, 0.02, torch.Generator().manual_seed(1))
    assert revived == dead
    assert not torch.equal(quantizer(latents).losses.commitment, error)
    assert (quantizer.bank.ema_counts > 0).all()
    assert quantizer.revive(latents, 0.02, torch.Generator().manual_seed(1)) == 0


def test_damage_stays_within_the_levels_that_see_it() -> None:
    quantizer = NestedResidualQuantizer(SIZES, DIMS)
    quantizer.initialize_from(rows())
    quantizer.eval()
    clean, damaged = rows(10), rows(10)
    damaged[3, 4] = torch.nan  # category 0, a coordinate that only level 1 sees
    damaged.requires_grad_()
    output, expected = quantizer(damaged), quantizer(clean)
    assert output.quantized.isfinite().all()
    assert output.losses.total.isfinite()
    assert torch.equal(output.indices[:3], expected.indices[:3])
    assert output.indices[3, 0] == expected.indices[3, 0]
    assert output.indices[3, 1] == 0
    assert torch.equal(output.indices[3, 3:], expected.indices[3, 3:])
    (output.quantized.sum() + output.losses.total).backward()
    assert damaged.grad is not None
    assert damaged.grad.isfinite().all()
    assert torch.equal(quantizer.decode(output.indices), output.quantized)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    quantizer = NestedResidualQuantizer(SIZES, DIMS).to(dtype)
    latents = rows().to(dtype).requires_grad_()
    output = quantizer(latents)
    (output.quantized.sum() + output.losses.total).backward()
    assert output.quantized.dtype == dtype
    assert latents.grad is not None
    assert latents.grad.dtype == dtype
    assert quantizer.bank.ema_counts.dtype == torch.float32
    output = quantizer.eval()(rows().to(dtype))
    assert torch.equal(quantizer.decode(output.indices), output.quantized)


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 3)])
def test_shapes(shape: tuple[int, ...]) -> None:
    quantizer = NestedResidualQuantizer(SIZES, DIMS)
    quantizer(rows())
    latents = torch.zeros(*shape, sum(WIDTHS))
    output = quantizer(latents)
    assert output.quantized.shape == latents.shape
    assert output.indices.shape == (*shape, 6)
    assert quantizer.decode(output.indices).shape == latents.shape
    listed = quantizer.eval()([latents[..., :5], latents[..., 5:]])
    assert listed.indices.shape == (*shape, 6)


def test_the_order_of_codebooks() -> None:
    quantizer = NestedResidualQuantizer(SIZES, DIMS)
    assert quantizer.layout.codebook_sizes == (8, 6, 4, 5, 4, 3)
    assert quantizer.codebook(1, 2).shape == (3, 1)
    assert quantizer.num_quantizers == quantizer.indices_width == 6
    with pytest.raises(InputError, match=r"category in 0..1 and level in 0..2, got category=2"):
        quantizer.codebook(2, 0)


@pytest.mark.parametrize(
    ("sizes", "dims", "message"),
    [
        ([4, 4], [2, 2], r"codebook_sizes: expected a list with one list per category, got \[4"),
        ([], [], "codebook_sizes: expected a list with one list per category"),
        ([[4, 4]], [[2]], r"same number of levels.* got \[2\] and \[1\]; give"),
        ([[4, 4], [4]], [[2, 2], [2]], r"same number of levels"),
        ([[]], [[]], r"at least 1"),
        ([[0]], [[2]], r"codebook_sizes\[0\]"),
    ],
)
def test_sizes_are_checked(sizes: Any, dims: Any, message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        NestedResidualQuantizer(sizes, dims)


def test_masked_rows_are_as_if_they_were_not_there() -> None:
    quantizer = NestedResidualQuantizer(SIZES, DIMS)
    quantizer(rows())
    quantizer.reset_usage()
    alone = copy.deepcopy(quantizer)
    mask = torch.arange(30) % 3 != 0
    latents = rows(30, seed=4).requires_grad_()
    kept = latents.detach()[mask].requires_grad_()
    output, expected = quantizer(latents, mask), alone(kept)
    for one in (output, expected):
        (one.quantized.square().sum() + one.losses.total).backward()
    assert torch.equal(output.indices[mask], expected.indices)
    torch.testing.assert_close(output.losses.total, expected.losses.total)
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad[mask], kept.grad)
    assert (latents.grad[~mask] == 0).all()
    for name, value in quantizer.state_dict().items():
        torch.testing.assert_close(value, alone.state_dict()[name])
    assert quantizer.usage().skipped.sum() == 0
