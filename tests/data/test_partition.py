"""Partitions of features: silhouettes, the cuts on offer, and where every feature settles."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from spinlock.data.partition import (
    Partition,
    best_partition,
    partitions,
    possible_counts,
    silhouette,
)


def test_of_equal_silhouettes_fewer_groups_win() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    candidates = [Partition(labels, n, s) for n, s in ((4, 0.5), (3, 0.5 + 1e-12), (2, 0.4))]
    for order in itertools.permutations(candidates):
        assert best_partition(order) is candidates[1]
    assert best_partition([]) is None


def test_silhouette_matches_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 3))
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    labels = rng.permutation(np.repeat([0, 1, 2, 3], [1, 9, 10, 20]))
    expected = silhouette_score(distance, labels, metric="precomputed")
    assert silhouette(distance, labels) == pytest.approx(expected, abs=1e-12)


# With these seeds every cut settles, and no group is held together by its smallest size.
@pytest.mark.parametrize("seed", [0, 4])
@pytest.mark.parametrize("min_size", [1, 2, 4])
def test_partitions_are_settled_and_offered_as_promised(seed: int, min_size: int) -> None:
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.normal(size=(600, 3)), (6, 5, 4), axis=1)
    correlation = np.corrcoef((common + 1.5 * rng.normal(size=common.shape)).T)
    strength = np.abs(correlation)
    found = list(partitions(correlation, min_size, range(2, 16)))
    assert {p.num_groups for p in found} <= set(possible_counts(correlation, min_size))
    for partition in found:
        labels, groups = partition.labels, range(partition.num_groups)
        sizes = np.bincount(labels)
        assert len(sizes) == partition.num_groups
        assert sizes.min() >= min_size
        firsts = [int(np.flatnonzero(labels == g)[0]) for g in groups]
        assert firsts == sorted(firsts)
        for feature in np.flatnonzero(sizes[labels] > min_size).tolist():
            others = np.arange(len(labels)) != feature
            fits = [strength[feature, others & (labels == g)].mean() for g in groups]
            assert fits[labels[feature]] >= max(fits) - 1e-9
