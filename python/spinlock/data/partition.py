"""Partitions of features by correlation: one tree, many cuts, the best silhouette."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]

# Distances are compared to this many decimals, so that the order of a sum decides nothing.
_DECIMALS = 10
# All features move at once, so that some may trade places for ever; after so many sweeps they stay.
_MAX_SWEEPS = 20


@dataclass(frozen=True, eq=False)
class Partition:
    """Features in groups.

    Attributes:
        labels: int64 [D], 0 .. n - 1, numbered by each group's first feature.
        num_groups: n.
        silhouette: the mean silhouette on 1 - |r|, or None for a single group.
    """

    labels: Labels
    num_groups: int
    silhouette: float | None


def partitions(correlation: Floats, min_size: int, counts: range) -> Iterator[Partition]:
    """What the cuts of the average-linkage tree on 1 - |r| become, coarsest cut first.

    In each cut, groups of fewer than ``min_size`` features are dissolved and their features join
    the group with whose members their mean |r| is largest (the one with the earliest feature on
    ties). Then, in at most 20 sweeps, all features that fit another group better by that measure
    move there at once, except out of groups that would be left with too few.
    Cuts whose groups of ``min_size`` or more are not as many as ``counts`` allows are left out.

    Args:
        correlation: [D, D], symmetric, 0 for constant columns.
        min_size: at least 1.
        counts: the numbers of groups wanted, 2 or more.
    """
    strength = _strength(correlation)
    distance = 1.0 - strength
    last: Labels | None = None
    for cores, num_groups in _cores(distance, min_size):
        repeated = last is not None and np.array_equal(cores, last)
        if num_groups in counts and not repeated:
            labels = _settled(cores, num_groups, strength, min_size)
            yield Partition(labels, num_groups, silhouette(distance, labels))
        last = cores


def possible_counts(correlation: Floats, min_size: int) -> list[int]:
    """The numbers of groups, ascending and 1 among them, that ``partitions`` can offer."""
    cores = _cores(1.0 - _strength(correlation), min_size)
    return sorted({1, *(num_groups for _, num_groups in cores if num_groups > 0)})


def single(num_features: int) -> Partition:
    """All features in one group."""
    return Partition(np.zeros(num_features, dtype=np.int64), 1, None)


def best_partition(candidates: Iterable[Partition]) -> Partition | None:
    """The largest silhouette; on ties fewer groups, then the earlier; None where there is none.

    Partitions without a silhouette come last.
    """
    return max(
        candidates,
        key=lambda p: (-1.0 if p.silhouette is None else round(p.silhouette, 9), -p.num_groups),
        default=None,
    )


def silhouette(distance: Floats, labels: Labels) -> float:
    """Rousseeuw's mean silhouette (1987) from distances [D, D]; singletons count 0.

    >>> distance = np.array([[0.0, 0.2, 0.8], [0.2, 0.0, 0.8], [0.8, 0.8, 0.0]])
    >>> round(silhouette(distance, np.array([0, 0, 1])), 6)
    0.5
    """
    members = np.eye(int(labels.max()) + 1)[labels]
    sizes = members.sum(axis=0)
    sums = distance @ members
    rows = np.arange(len(labels))
    own = sizes[labels]
    inner = sums[rows, labels] / np.maximum(own - 1.0, 1.0)
    means = sums / sizes
    means[rows, labels] = np.inf
    outer = means.min(axis=1)
    larger = np.maximum(inner, outer)
    widths = np.where(larger > 0, (outer - inner) / np.where(larger > 0, larger, 1.0), 0.0)
    return float(np.where(own > 1, widths, 0.0).mean())


def _strength(correlation: Floats) -> Floats:
    strength: Floats = np.round(np.abs(correlation), _DECIMALS).astype(np.float64)
    np.fill_diagonal(strength, 1.0)
    return strength


def _cores(distance: Floats, min_size: int) -> Iterator[tuple[Labels, int]]:
    """For each cut, labels of its groups of ``min_size`` or more, -1 elsewhere; their number."""
    for labels in _cuts(distance):
        names, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        large = np.flatnonzero(sizes >= min_size)
        core = np.full(len(names), -1)
        core[large] = np.arange(len(large))
        yield core[inverse], len(large)


def _cuts(distance: Floats) -> Iterator[Labels]:
    """Labels of the tree cut into 2, 3, ... D groups; a group is named after its first feature."""
    if len(distance) < 2:
        return
    # Only here, for scipy.cluster takes a while to import and most runs bring their categories.
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(distance, checks=False), method="average")
    size = len(distance)
    members = [np.array([feature]) for feature in range(size)]
    for left, right in tree[:, :2].astype(np.int64):
        members.append(np.concatenate([members[left], members[right]]))
    labels = np.zeros(size, dtype=np.int64)
    for left, right in tree[::-1, :2].astype(np.int64):
        for child in (left, right):
            labels[members[child]] = members[child].min()
        yield labels.copy()


def _settled(cores: Labels, num_groups: int, strength: Floats, min_size: int) -> Labels:
    """Every feature in the group it fits best; ``cores`` are labels, -1 for dissolved ones."""
    unit = np.eye(num_groups + 1, num_groups)
    sums = strength @ unit[cores]
    labels = np.where(cores < 0, _affinity(sums, unit[cores]).argmax(axis=1), cores)
    orphans = np.flatnonzero(cores < 0)
    sums += strength[:, orphans] @ unit[labels[orphans]]
    for _ in range(_MAX_SWEEPS):
        affinity = _affinity(sums, unit[labels])
        better = affinity.max(axis=1) > np.take_along_axis(affinity, labels[:, None], axis=1)[:, 0]
        moved = np.where(better, affinity.argmax(axis=1), labels)
        moved = _without_shrinking(labels, moved, num_groups, min_size)
        changed = np.flatnonzero(moved != labels)
        if changed.size == 0:
            break
        sums += strength[:, changed] @ (unit[moved[changed]] - unit[labels[changed]])
        labels = moved
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse].astype(np.int64)


def _without_shrinking(labels: Labels, moved: Labels, num_groups: int, min_size: int) -> Labels:
    """``moved``, but nobody leaves a group that would end below ``min_size``."""
    while True:
        small = np.flatnonzero(np.bincount(moved, minlength=num_groups) < min_size)
        if small.size == 0:
            return moved
        moved = np.where(np.isin(labels, small), labels, moved)


def _affinity(sums: Floats, members: Floats) -> Floats:
    """Mean |r| of each feature with each group, itself left out, [D, groups].

    Args:
        sums: [D, groups], the sum of |r| with the members of each group.
        members: [D, groups], 1 where a feature belongs to a group.
    """
    others = members.sum(axis=0) - members
    affinity: Floats = np.round((sums - members) / np.maximum(others, 1.0), _DECIMALS)
    return affinity
