"""Categories: groups of features that are compressed together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.analysis.statistics import (
    DEFAULT_CAPACITY,
    GramMatrix,
    Moments,
    RowReservoir,
    RowSample,
    one_blas_thread,
    row_blocks,
)
from spinlock.data.column_normaliser import robust_scale
from spinlock.data.manual_categories import assigned_columns
from spinlock.data.matrix import families_of, matrix_of, names_of, require_finite
from spinlock.data.partition import (
    Partition,
    best_partition,
    partitions,
    possible_counts,
    single,
)
from spinlock.data.table import listed
from spinlock.errors import ConfigError, DataError

ASSIGNMENTS = ("auto", "families", "manual")

# Robustly scaled values beyond this many standard deviations say no more than this many.
ROBUST_LIMIT = 5.0

_BLOCK_ROWS = 65_536


@dataclass(frozen=True)
class CategoryGroups:
    """Which columns make up which category, in the one order that everything after keeps.

    Attributes:
        names: category names, unique.
        columns: for each category its columns, indices into the cleaned features.
        silhouette: the mean silhouette of the discovered clusters, or None.

    Raises:
        DataError: a column in no category or in several, an empty category, repeated names.

    >>> groups = CategoryGroups(names=("a", "b"), columns=((0, 3), (1, 2, 4)))
    >>> groups.order, groups.sizes, groups.labels
    ((0, 3, 1, 2, 4), (2, 3), (0, 1, 1, 0, 1))
    """

    names: tuple[str, ...]
    columns: tuple[tuple[int, ...], ...]
    silhouette: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        object.__setattr__(self, "columns", tuple(tuple(int(c) for c in g) for g in self.columns))
        if not self.names or len(self.names) != len(self.columns):
            raise DataError(
                f"{len(self.names)} category names came with {len(self.columns)} groups of "
                "columns; expected one group per name, and at least one."
            )
        if len(set(self.names)) != len(self.names) or "" in self.names:
            raise DataError(f"category names must be unique and not empty; got {self.names}.")
        empty = [n for n, g in zip(self.names, self.columns, strict=True) if not g]
        if empty:
            raise DataError(f"categories without a column: {listed(empty)}.")
        order = self.order
        if sorted(order) != list(range(len(order))):
            repeated = sorted({c for c in order if order.count(c) > 1})
            missing = sorted(set(range(len(order))) - set(order))
            raise DataError(
                f"every column 0 to {len(order) - 1} belongs to exactly one category; in several: "
                f"{repeated[:10]}, in none: {missing[:10]}."
            )

    @property
    def num_categories(self) -> int:
        """C."""
        return len(self.names)

    @property
    def num_features(self) -> int:
        """D, over all categories."""
        return sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Columns per category."""
        return tuple(len(group) for group in self.columns)

    @property
    def order(self) -> tuple[int, ...]:
        """All columns, category after category: ``features[:, order]`` is grouped."""
        return tuple(chain.from_iterable(self.columns))

    @property
    def labels(self) -> tuple[int, ...]:
        """For each column, in its own order, the number of its category."""
        owner = {c: i for i, group in enumerate(self.columns) for c in group}
        return tuple(owner[column] for column in range(self.num_features))

    def to_dict(self) -> dict[str, Any]:
        """Plain strings, numbers and lists."""
        return {
            "names": list(self.names),
            "columns": [list(group) for group in self.columns],
            "silhouette": self.silhouette,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "CategoryGroups":
        """The groups that ``to_dict`` wrote."""
        return cls(tuple(data["names"]), tuple(data["columns"]), data.get("silhouette"))


def discover_categories(
    features: Any,
    names: Sequence[str] | None = None,
    families: Sequence[str] | None = None,
    *,
    assignment: str = "auto",
    mapping: Mapping[str, Sequence[str]] | None = None,
    dropped: Mapping[str, str] | None = None,
    num_categories_auto: int | None = None,
    max_clusters: int = 25,
    min_features_per_category: int = 3,
    isolated_families: Sequence[str] = (),
    sample_rows: int = DEFAULT_CAPACITY,
    seed: int = 0,
) -> CategoryGroups:
    """Group the columns of cleaned training rows.

    ``auto`` scales every column robustly (median, MAD), limits it to 5 standard deviations,
    clusters the columns by average linkage on 1 - \\|Pearson r\\|, and takes the cut with the
    largest mean silhouette. Categories are ordered by their first column; clusters are named
    ``cluster_1``, ``cluster_2``, ... in that order. The result depends on the data and the
    arguments alone.

    Args:
        features: [N, D] training rows before normalisation, a table, or a ``RowSample``.
        names: column names, for messages; by default those of the table.
        families: the family of each column; by default the table's, or what precedes ``::``.
        assignment: ``auto``; ``families``: each family is one category; ``manual``: as in
            ``mapping``.
        mapping: for ``manual``, category -> column names and globs; see ``assigned_columns``.
        dropped: for ``manual``, columns that cleaning dropped, and why.
        num_categories_auto: the number of clusters; by default the silhouette decides between 2
            and ``max_clusters``, and all columns form one where no cut has a positive one.
        max_clusters: at most so many clusters, at least 1.
        min_features_per_category: smaller clusters are dissolved into the others.
        isolated_families: each becomes a category of its own, named after it, and takes no part
            in the clustering; ``num_categories_auto`` and ``max_clusters`` do not count them.
        sample_rows: rows that correlations are computed from: all up to that many, else a uniform
            sample, whose correlations have a standard error of at most 1 / sqrt(sample_rows).
        seed: of that sample.

    Raises:
        ConfigError: an argument out of its range, an unknown family, a number of clusters that
            the columns do not offer.
        DataError: not a matrix, no rows, values that are not finite.

    >>> x = np.random.default_rng(0).normal(size=(200, 2)).repeat(3, axis=1)
    >>> x += 0.1 * np.random.default_rng(1).normal(size=x.shape)
    >>> groups = discover_categories(x)
    >>> groups.names, groups.columns
    (('cluster_1', 'cluster_2'), ((0, 1, 2), (3, 4, 5)))
    """
    rows = features.rows if isinstance(features, RowSample) else matrix_of(features)
    given = names_of(features, names, rows.shape[1])
    owners = families_of(features, families, given)
    _check_arguments(assignment, num_categories_auto, max_clusters, min_features_per_category)
    if assignment == "manual":
        if not mapping:
            raise ConfigError("category_assignment 'manual' needs a mapping of columns; give one.")
        return _ordered(assigned_columns(mapping, given, dropped), None)
    isolated = _isolated(assignment, isolated_families, owners)
    groups: dict[str, list[int]] = {family: [] for family in isolated}
    free: list[int] = []
    for column, family in enumerate(owners or [""] * len(given)):
        groups.get(family, free).append(column)
    silhouette = None
    if num_categories_auto is not None and not free:
        raise ConfigError(
            f"training.num_categories_auto is {num_categories_auto}, but every family is a "
            "category of its own and no column is left to cluster; remove the key."
        )
    if free:
        correlation = _robust_correlation(rows, free, given, sample_rows, seed)
        found = _clusters(correlation, num_categories_auto, max_clusters, min_features_per_category)
        silhouette = found.silhouette
        fresh = (name for i in count(1) if (name := f"cluster_{i}") not in groups)
        clusters = [np.flatnonzero(found.labels == g).tolist() for g in range(found.num_groups)]
        groups |= {next(fresh): [free[i] for i in cluster] for cluster in clusters}
    return _ordered(groups, silhouette)


def _ordered(groups: Mapping[str, list[int]], silhouette: float | None) -> CategoryGroups:
    ordered = sorted(groups.items(), key=lambda item: item[1][0])
    return CategoryGroups(
        names=tuple(name for name, _ in ordered),
        columns=tuple(tuple(group) for _, group in ordered),
        silhouette=silhouette,
    )


def _check_arguments(
    assignment: str, fixed: int | None, max_clusters: int, min_features: int
) -> None:
    checks: list[tuple[str, Any, bool, str]] = [
        ("category_assignment", assignment, assignment in ASSIGNMENTS, ", ".join(ASSIGNMENTS)),
        ("num_categories_auto", fixed, fixed is None or fixed >= 1, "1 or more, or nothing"),
        ("max_clusters", max_clusters, max_clusters >= 1, "1 or more"),
        ("min_features_per_category", min_features, min_features >= 1, "1 or more"),
    ]
    for name, value, fits, expected in checks:
        if not fits:
            raise ConfigError(f"training.{name} is {value!r}; expected {expected}.")


def _isolated(
    assignment: str, asked: Sequence[str], families: tuple[str, ...] | None
) -> tuple[str, ...]:
    if isinstance(asked, str):
        raise ConfigError(f"training.isolated_families is {asked!r}; expected a list of families.")
    if families is None:
        if assignment == "families" or asked:
            raise ConfigError(
                "the columns have no families, which category_assignment 'families' and "
                "isolated_families need; name the columns 'family::name' or use 'auto' without."
            )
        return ()
    known = tuple(dict.fromkeys(families))
    unknown = [family for family in asked if family not in known]
    if unknown:
        raise ConfigError(
            f"training.isolated_families names {listed(unknown)}, of which no column is left; "
            f"families after cleaning: {listed(known)}."
        )
    return known if assignment == "families" else tuple(dict.fromkeys(asked))


def _robust_correlation(
    rows: NDArray[Any], columns: list[int], names: tuple[str, ...], sample_rows: int, seed: int
) -> NDArray[np.float64]:
    """Pearson's r of robustly scaled, limited columns, [len(columns), len(columns)]."""
    require_finite(rows, names, "Discover categories from cleaned features.")
    sample = rows
    if len(rows) > sample_rows:
        reservoir = RowReservoir(sample_rows, seed)
        for start, block in zip(count(0, _BLOCK_ROWS), row_blocks(rows, _BLOCK_ROWS), strict=False):
            reservoir.update(block, start)
        sample = reservoir.finalise().rows
    sample = sample[:, columns]
    medians, scales = robust_scale(sample, Moments().update(sample).finalise().std)
    scales = np.where(scales > 0, scales, 1.0)
    gram = GramMatrix()
    for block in row_blocks(sample, _BLOCK_ROWS):
        gram.update(np.clip((block - medians) / scales, -ROBUST_LIMIT, ROBUST_LIMIT))
    return gram.finalise().correlation


def _clusters(
    correlation: NDArray[np.float64], fixed: int | None, max_clusters: int, min_features: int
) -> Partition:
    whole = single(len(correlation))
    if fixed == 1:
        return whole
    counts = range(2, max_clusters + 1) if fixed is None else range(fixed, fixed + 1)
    with one_blas_thread():
        best = best_partition(partitions(correlation, min_features, counts))
    if fixed is None:
        structured = best is not None and best.silhouette is not None and best.silhouette > 0
        return best if best is not None and structured else whole
    if best is None:
        offered = possible_counts(correlation, min_features)
        raise ConfigError(
            f"training.num_categories_auto is {fixed}, but the tree over {len(correlation)} "
            f"columns has no cut into {fixed} categories of at least {min_features} columns; it "
            f"offers {listed([str(n) for n in offered])}. Choose one of these, or lower "
            "min_features_per_category."
        )
    return best
