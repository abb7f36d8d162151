"""Auxiliary losses: known values at the extremes, finite and real gradients."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from spinlock.vqvae.auxiliary import orthogonality_loss, topographic_loss

FEATURES = torch.sin(torch.arange(84.0, dtype=torch.float64)).view(3, 7, 4)


def test_orthogonality_is_one_for_rotated_copies_and_zero_for_orthogonal_rows() -> None:
    latents = torch.randn(32, 4, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    same = torch.stack([latents, 3.0 * latents @ rotation])
    torch.testing.assert_close(orthogonality_loss(same).item(), 1.0)
    basis = torch.linalg.qr(torch.randn(32, 9, dtype=torch.float64) - 0.0).Q
    basis = torch.linalg.qr(torch.cat([torch.ones(32, 1).double(), basis], 1)).Q[:, 1:9]
    apart = torch.stack([basis[:, :4], basis[:, 4:]])
    assert orthogonality_loss(apart).item() < 1e-12
    assert orthogonality_loss(latents[None]).item() == 0.0


def test_orthogonality_has_a_gradient_that_lowers_it() -> None:
    shared = torch.randn(24, 3)
    latents = torch.stack([shared, shared + 0.1 * torch.randn(24, 3)]).requires_grad_()
    loss = orthogonality_loss(latents)
    loss.backward()
    assert latents.grad is not None
    moved = (latents - latents.grad * 0.5 / latents.grad.norm()).detach()
    assert orthogonality_loss(moved) < loss


@pytest.mark.parametrize("loss", [orthogonality_loss, partial(topographic_loss, FEATURES)])
def test_gradients_are_those_of_finite_differences(loss: Callable[[Tensor], Tensor]) -> None:
    latents = torch.randn(3, 7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, latents)


def test_topographic_is_zero_for_scaled_copies_and_large_for_noise() -> None:
    features = torch.randn(2, 20, 5, dtype=torch.float64)
    assert topographic_loss(features, 2.0 * features).item() < 1e-6
    assert topographic_loss(features, torch.randn(2, 20, 5).double()).item() > 0.5
    assert topographic_loss(features[:, :2], features[:, :2]).item() == 0.0


def test_topographic_gradient_is_finite_at_equal_rows() -> None:
    features = torch.randn(1, 6, 3)
    latents = torch.zeros(1, 6, 2, requires_grad=True)
    topographic_loss(features, latents).backward()
    assert latents.grad is not None
    assert latents.grad.isfinite().all()
