"""Finite scalar quantization: grids, bits, gradients, and a model that trains with them."""

import itertools
import math

import numpy as np
import pytest
import torch

from spinlock.analysis.plan import Hierarchy
from spinlock.comparison.measuring import measured
from spinlock.comparison.peers.fsq import fit_fsq, grid_model
from spinlock.comparison.peers.fsq_grid import grid_levels, scalar_error, token_groups
from spinlock.comparison.peers.fsq_quantizer import FiniteScalarQuantizer
from spinlock.comparison.plans import changed, strategy_config
from spinlock.config import TrainConfig
from spinlock.training.prepare import prepare
from spinlock.vqvae import CategoricalVQVAEConfig


def quantizer(levels: list[int], *groups: tuple[int, ...]) -> FiniteScalarQuantizer:
    return FiniteScalarQuantizer(levels, groups)


@pytest.mark.parametrize("levels", range(1, 18))
def test_a_column_has_its_levels_and_no_others(levels: int) -> None:
    fsq = quantizer([levels], (0,))
    latents = torch.linspace(-30, 30, 4001).unsqueeze(1)
    output = fsq.eval()(latents)
    assert output.indices.unique().tolist() == list(range(levels))
    half = (levels - 1) / 2
    assert output.quantized.unique().tolist() == [-half + step for step in range(levels)]
    # The larger the latent, the larger the level.
    assert (output.indices[1:] >= output.indices[:-1]).all()


def test_tokens_are_mixed_radix_numbers_and_decode_to_what_came_out() -> None:
    fsq = quantizer([3, 4, 5, 2], (0, 1), (), (2, 3))
    assert fsq.codebook_sizes == (12, 1, 10)
    torch.manual_seed(0)
    latents = 3 * torch.randn(500, 4)
    fsq.initialize_from(latents)
    output = fsq.eval()(latents)
    assert torch.equal(fsq.decode(output.indices), output.quantized)
    assert torch.equal(fsq.search(latents, beam=4), output.indices)
    assert [len(column.unique()) for column in output.indices.T] == [12, 1, 10]
    every = torch.tensor(list(itertools.product(range(12), [0], range(10))))
    assert len(fsq.decode(every).unique(dim=0)) == 120


def test_gradients_go_straight_through_the_rounding() -> None:
    fsq = quantizer([5, 4], (0, 1))
    latents = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    fsq(latents).quantized.sum().backward()
    half = torch.tensor([2.499, 1.999])
    expected = half * (1 - torch.tanh(latents.detach() / 1.78).square()) / 1.78
    assert latents.grad is not None
    assert torch.allclose(latents.grad, expected, atol=1e-5)


@pytest.mark.parametrize(("levels", "threshold"), [(3, 0.612), (4, 0.982), (8, 1.748), (16, 2.401)])
def test_thresholds_lie_where_max_has_them(levels: int, threshold: float) -> None:
    """The outermost thresholds of the best quantizer of a unit Gaussian (Max, 1960)."""
    fsq = quantizer([levels], (0,)).eval()
    at = torch.linspace(0, 4, 40_001).unsqueeze(1)
    last = at[fsq(at).indices[:, 0] == levels - 1].min()
    assert float(last) == pytest.approx(threshold, rel=0.03)


def test_errors_of_a_gaussian_are_near_maxs() -> None:
    """Not at them: the levels are evenly spaced, which a decoder's MLP can bend."""
    z = torch.randn(50_000, 1, generator=torch.Generator().manual_seed(0))
    for levels in (2, 3, 5, 8):
        fsq = quantizer([levels], (0,)).eval()
        fsq.initialize_from(z)
        error = float((fsq(z).quantized - z).square().mean())
        assert scalar_error(levels) * 0.98 < error < scalar_error(levels) * 1.35


def test_usage_counts_training_batches_only() -> None:
    fsq = quantizer([2, 2], (0,), (1,))
    rows = torch.tensor([[-1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    fsq.eval()(rows)
    assert fsq.usage().dead == 4
    fsq.train()(rows)
    usage = fsq.usage()
    assert usage.utilization.tolist() == [1.0, 0.5]
    assert usage.dead == 1
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert usage.perplexity.tolist() == pytest.approx([math.exp(entropy), 1.0])
    fsq.reset_usage()
    assert fsq.usage().dead == 4


@pytest.mark.parametrize("seed", range(6))
def test_levels_use_the_bits_and_the_largest_components(seed: int) -> None:
    rng = np.random.default_rng(seed)
    variances = rng.gamma(0.4, size=rng.integers(1, 30))
    bits = float(rng.uniform(2, 20))
    levels = grid_levels(variances, bits)
    assert len(levels) <= len(variances)
    assert list(levels) == sorted(levels, reverse=True)
    used = math.fsum(map(math.log2, levels))
    assert used <= bits + 1e-6
    # Nothing that is left would pay for a further level of the finest component.
    assert used + math.log2((levels[0] + 1) / levels[0]) > bits - 1e-6


def test_groups_hold_every_component_once() -> None:
    for levels in ((8, 4, 3, 3, 2), (2,) * 9, (40,), (5, 5)):
        for count in (1, 2, 3, 4):
            groups = token_groups(levels, count)
            assert len(groups) == count
            assert [c for group in groups for c in group] == list(range(len(levels)))


@pytest.mark.parametrize("hierarchy", ["residual", "independent"])
def test_a_model_trains_with_a_grid(config: TrainConfig, hierarchy: str) -> None:
    model = {"hierarchy": hierarchy}
    training = {"num_epochs": 40, "learning_rate": 0.02}
    chosen = changed(strategy_config(config, "uniform"), model=model, training=training)
    prepared = prepare(chosen)
    fitted = fit_fsq(prepared)
    assert prepared.plan.bits - 1.5 < fitted.bits <= prepared.plan.bits + 1e-6
    categories = [(c.name, c.num_features) for c in prepared.plan.categories]
    found = measured(fitted, prepared.validation, categories)
    assert found.worst_mse < (0.2 if hierarchy == "residual" else 0.6)
    assert fitted.epochs == 40
    again = fit_fsq(prepared)
    assert np.array_equal(again.decoded_held_out, fitted.decoded_held_out)


@pytest.mark.parametrize("hierarchy", ["residual", "independent"])
def test_a_category_of_one_feature_has_one_grid(hierarchy: Hierarchy) -> None:
    config = CategoricalVQVAEConfig(
        category_names=("one", "many"),
        category_sizes=(1, 5),
        compression_ratios="0.5:1.0:1.5",
        hierarchy=hierarchy,
    )
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)  # the first weights of a single feature may tell no rows apart
    model = grid_model(config, x.numpy())
    generator = torch.Generator().manual_seed(1)
    model.initialize_from(x, generator)
    tokens = model.get_tokens(x)
    assert tokens.shape == (200, 6)
    assert len(tokens[:, 0].unique()) > 2
    assert tokens[:, 1:3].max() == 0
    assert torch.equal(model.decode_from_tokens(tokens), model.eval()(x).reconstruction)
