"""Auxiliary losses of the independent form; each is 0 at its ideal and has a real gradient."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-8


def orthogonality_loss(latents: Tensor) -> Tensor:
    """How much the categories' latents say the same: mean linear CKA over pairs of categories.

    Linear centred kernel alignment (Kornblith et al. 2019, "Similarity of neural network
    representations revisited"): ``<K_a, K_b> / (|K_a| |K_b|)`` with K the centred Gram matrix over
    the rows; 1 for latents equal up to rotation and scale, near 0 for unrelated ones.

    Args:
        latents: ``[C, B, W]``, zero-padded per category.

    Returns:
        Scalar in [0, 1]; 0 for a single category.
    """
    count = latents.shape[0]
    if count < 2:
        return latents.new_zeros(())
    centred = latents - latents.mean(1, keepdim=True)
    gram = torch.bmm(centred, centred.transpose(1, 2)).flatten(1)
    unit = gram / gram.norm(dim=1, keepdim=True).clamp_min(_EPSILON)
    alignment = unit @ unit.T
    off_diagonal: Tensor = alignment.sum() - alignment.diagonal().sum()
    return off_diagonal / (count * (count - 1))


def topographic_loss(features: Tensor, latents: Tensor) -> Tensor:
    """1 - correlation between pairwise distances of the features and of the latents, averaged.

    Topographic similarity (Brighton & Kirby 2006) with Pearson's correlation, which has a
    gradient: rows close in feature space should be close in latent space.

    Args:
        features: ``[G, B, P]``, zero-padded.
        latents: ``[G, B, W]``, zero-padded.

    Returns:
        Scalar in [0, 2]; 0 where there are fewer than three rows.
    """
    rows = features.shape[1]
    if rows < 3:
        return latents.new_zeros(())
    first, second = torch.triu_indices(rows, rows, 1, device=features.device)
    of_features = _distances(features)[:, first, second]
    of_latents = _distances(latents)[:, first, second]
    of_features = of_features - of_features.mean(1, keepdim=True)
    of_latents = of_latents - of_latents.mean(1, keepdim=True)
    scale = (of_features.norm(dim=1) * of_latents.norm(dim=1)).clamp_min(_EPSILON)
    correlation: Tensor = (of_features * of_latents).sum(1) / scale
    return (1.0 - correlation).mean()


def _distances(points: Tensor) -> Tensor:
    """Euclidean distances ``[G, B, B]``; the shift keeps the root's gradient finite at 0."""
    squared = points.square().sum(-1)
    product = torch.bmm(points, points.transpose(1, 2))
    return (
        (squared.unsqueeze(2) + squared.unsqueeze(1) - 2.0 * product)
        .clamp_min(0.0)
        .add(_EPSILON)
        .sqrt()
    )
