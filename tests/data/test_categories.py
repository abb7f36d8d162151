"""Categories: every column in exactly one, in one order, whatever the data look like."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from spinlock.analysis.statistics import RowReservoir
from spinlock.data.categories import CategoryGroups, discover_categories
from spinlock.data.cleaning import FeatureCleaner
from spinlock.data.split import split_rows
from spinlock.data.table import FeatureTable
from spinlock.errors import ConfigError, DataError

DATA = Path(__file__).parents[3] / "shared" / "data"
Matrix = NDArray[np.float64]


def factors(*sizes: int, noise: float = 0.3, rows: int = 600, seed: int = 0) -> Matrix:
    """Independent blocks of columns, each following one common factor of either sign."""
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.normal(size=(rows, len(sizes))), sizes, axis=1)
    signs = rng.choice([-1.0, 1.0], size=sum(sizes))
    return common * signs + noise * rng.normal(size=common.shape)


def spans(*sizes: int) -> tuple[tuple[int, ...], ...]:
    edges = [0, *itertools.accumulate(sizes)]
    return tuple(tuple(range(a, b)) for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize("sizes", [(3, 3), (4, 6, 5), (3, 12, 4, 7, 3), (3,) * 12])
def test_planted_blocks_are_found(sizes: tuple[int, ...]) -> None:
    groups = discover_categories(factors(*sizes))
    assert groups.columns == spans(*sizes)
    assert groups.names == tuple(f"cluster_{i + 1}" for i in range(len(sizes)))
    assert groups.silhouette is not None
    assert 0.7 < groups.silhouette < 1.0


def test_the_order_is_that_of_first_columns() -> None:
    x = factors(4, 4, 4)
    order = np.random.default_rng(3).permutation(12)
    groups = discover_categories(x[:, order])
    firsts = [group[0] for group in groups.columns]
    assert firsts == sorted(firsts)
    assert all(list(group) == sorted(group) for group in groups.columns)
    assert {frozenset(order[list(g)].tolist()) for g in groups.columns} == {
        frozenset(g) for g in spans(4, 4, 4)
    }


def test_units_signs_and_outliers_change_nothing() -> None:
    x = factors(5, 4, 6)
    rng = np.random.default_rng(1)
    wild = x * rng.choice([-1e6, 1e-6, 3.0], size=15) + rng.normal(size=15)
    wild[rng.integers(0, 600, size=3), [0, 6, 11]] *= 1e9
    assert discover_categories(wild) == discover_categories(x)


def test_small_clusters_are_dissolved_into_the_nearest() -> None:
    x = factors(6, 6, 2)
    x[:, 12:] += 0.5 * x[:, :1]
    assert discover_categories(x, min_features_per_category=2).sizes == (6, 6, 2)
    groups = discover_categories(x, min_features_per_category=3)
    assert groups.columns == ((0, 1, 2, 3, 4, 5, 12, 13), (6, 7, 8, 9, 10, 11))


def test_a_fixed_number_of_clusters() -> None:
    x = factors(3, 4, 5, 6)
    for wanted in (1, 2, 3, 4):
        groups = discover_categories(x, num_categories_auto=wanted, max_clusters=2)
        assert groups.num_categories == wanted
    with pytest.raises(ConfigError, match=r"num_categories_auto is 9.*offers 1, 2, 3, 4\."):
        discover_categories(x, num_categories_auto=9)


def test_max_clusters_is_kept() -> None:
    x = factors(*(3,) * 8)
    for most in (1, 2, 5, 8, 100):
        assert discover_categories(x, max_clusters=most).num_categories <= most
    assert discover_categories(x, max_clusters=1).columns == (tuple(range(24)),)


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
@pytest.mark.parametrize("minimum", [1, 3, 10])
def test_few_columns(columns: int, minimum: int) -> None:
    x = np.random.default_rng(0).normal(size=(50, columns))
    groups = discover_categories(x, min_features_per_category=minimum)
    assert sorted(groups.order) == list(range(columns))
    assert groups.num_categories == 1 or min(groups.sizes) >= minimum


@pytest.mark.parametrize("minimum", [1, 2, 3])
def test_columns_that_are_all_the_same_or_all_unrelated_are_one_category(minimum: int) -> None:
    same = np.repeat(np.arange(40.0)[:, None], 6, axis=1)
    apart = np.eye(40)[:, :6] - np.eye(40)[:, 6:12]
    for x in (same, apart, np.zeros((40, 6))):
        groups = discover_categories(x, min_features_per_category=minimum)
        assert (groups.names, groups.silhouette) == (("cluster_1",), None)
    assert discover_categories(same, num_categories_auto=2, min_features_per_category=1)


def test_constant_columns_find_a_home() -> None:
    x = factors(4, 4)
    x[:, 2] = 7.0
    groups = discover_categories(x)
    assert sorted(groups.order) == list(range(8))
    assert groups.num_categories == 2


def test_isolated_families_stand_alone() -> None:
    x = factors(4, 4, 4).astype(np.float32)
    x = np.concatenate([x[:, :4], x[:, 4:5], x[:, 5:]], axis=1)
    families = ("a",) * 4 + ("lonely",) + ("b",) * 7
    table = FeatureTable(x, tuple(f"{f}::{i}" for i, f in enumerate(families)), families)
    groups = discover_categories(table, isolated_families=["lonely"])
    assert groups.names == ("cluster_1", "lonely", "cluster_2", "cluster_3")
    assert groups.columns == ((0, 1, 2, 3), (4,), (5, 6, 7), (8, 9, 10, 11))
    assert discover_categories(x, names=table.names, isolated_families=["lonely"]) == groups
    assert discover_categories(x, families=families, isolated_families=["lonely"]) == groups
    with pytest.raises(ConfigError, match=r"names missing, .*families after cleaning: a, lonely"):
        discover_categories(table, isolated_families=["missing"])
    with pytest.raises(ConfigError, match="a list of families"):
        discover_categories(table, isolated_families="lonely")


def test_cluster_names_never_meet_family_names() -> None:
    x = factors(4, 4)
    groups = discover_categories(
        x, families=["cluster_1"] * 4 + ["b"] * 4, isolated_families=["cluster_1"]
    )
    assert groups.names == ("cluster_1", "cluster_2")


def test_each_family_one_category() -> None:
    x = factors(3, 3)
    families = ["b", "a", "b", "c", "a", "c"]
    groups = discover_categories(x, families=families, assignment="families")
    assert groups.names == ("b", "a", "c")
    assert groups.columns == ((0, 2), (1, 4), (3, 5))
    with pytest.raises(ConfigError, match="have no families"):
        discover_categories(x, assignment="families")
    with pytest.raises(ConfigError, match="no column is left to cluster"):
        discover_categories(x, families=families, assignment="families", num_categories_auto=2)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 24),
    st.integers(1, 6),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.5, 2.0]),
)
def test_every_column_is_in_exactly_one_category(
    seed: int, columns: int, minimum: int, most: int, mix: float
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, columns)) + mix * rng.normal(size=(60, 1))
    x[:, rng.random(columns) < 0.1] = 1.0
    groups = discover_categories(x, min_features_per_category=minimum, max_clusters=most)
    assert sorted(groups.order) == list(range(columns))
    assert groups.num_categories <= most
    assert groups.num_categories == 1 or min(groups.sizes) >= minimum
    assert groups == discover_categories(
        x.copy(order="F"), min_features_per_category=minimum, max_clusters=most
    )


def test_rows_may_come_in_any_order() -> None:
    x = factors(5, 4, 6)
    shuffled = x[np.random.default_rng(0).permutation(len(x))]
    assert discover_categories(shuffled) == discover_categories(x)
    for seed in range(15):  # Few binary rows: correlations that are equal but for rounding.
        rng = np.random.default_rng(seed)
        ties = rng.integers(0, 2, size=(12, 10)).astype(np.float64)
        orders = (ties, rng.permutation(ties), rng.permutation(ties))
        found = [discover_categories(rows, min_features_per_category=2) for rows in orders]
        assert found[0] == found[1] == found[2]


def test_large_data_are_sampled() -> None:
    x = factors(4, 5, rows=5_000)
    groups = discover_categories(x, sample_rows=400, seed=1)
    assert groups.columns == spans(4, 5)
    sample = RowReservoir(400, seed=1).update(x, 0).finalise()
    again = discover_categories(sample)
    assert again == groups
    assert again.silhouette == groups.silhouette


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("assignment", "kmeans"),
        ("num_categories_auto", 0),
        ("max_clusters", 0),
        ("min_features_per_category", 0),
    ],
)
def test_arguments_out_of_range(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"training\..*expected"):
        discover_categories(np.zeros((3, 2)), **{key: value})


def test_data_that_cannot_be_used() -> None:
    x = np.zeros((3, 2))
    x[1, 1] = np.inf
    with pytest.raises(DataError, match=r"right \(1\).*cleaned features"):
        discover_categories(x, names=["left", "right"])
    with pytest.raises(DataError, match="0 rows"):
        discover_categories(x[:0])
    with pytest.raises(DataError, match="as many different names"):
        discover_categories(x, names=["twice", "twice"])
    with pytest.raises(DataError, match="as many families"):
        discover_categories(x, families=["one"])


def test_groups_know_their_columns() -> None:
    groups = CategoryGroups(names=("b", "a"), columns=((4, 0), (2, 1, 3)), silhouette=0.25)
    assert groups.order == (4, 0, 2, 1, 3)
    assert groups.labels == (0, 1, 1, 1, 0)
    assert (groups.num_categories, groups.num_features, groups.sizes) == (2, 5, (2, 3))
    again = CategoryGroups.from_dict(json.loads(json.dumps(groups.to_dict())))
    assert again == groups
    assert again.silhouette == 0.25
    assert hash(again) == hash(groups)


@pytest.mark.parametrize(
    ("names", "columns", "message"),
    [
        ((), (), "at least one"),
        (("a",), ((0,), (1,)), "1 category names came with 2"),
        (("a", "a"), ((0,), (1,)), "unique"),
        (("", "a"), ((0,), (1,)), "not empty"),
        (("a", "b"), ((0, 1), ()), "without a column: b"),
        (("a", "b"), ((0, 1), (1, 2)), r"in several: \[1\], in none: \[3\]"),
        (("a", "b"), ((0, 1), (3,)), r"in none: \[2\]"),
    ],
)
def test_groups_refuse_what_is_no_partition(names: Any, columns: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        CategoryGroups(names=names, columns=columns)


def cleaned(features: NDArray[np.float32], names: Any = None) -> NDArray[np.float32]:
    rows = features[split_rows(len(features), 0.2, seed=0)[0]]
    return FeatureCleaner().fit_transform(rows, names=names)


def test_digits() -> None:
    groups = discover_categories(cleaned(load_digits().data.astype(np.float32)))
    assert groups.sizes == (10, 4, 6, 5, 7, 4, 5, 7, 4, 3)
    assert groups.silhouette == pytest.approx(0.215, abs=1e-3)


def test_bankruptcy() -> None:
    path = DATA / "bankruptcy.npz"
    if not path.exists():
        pytest.skip("shared/data/bankruptcy.npz is not on this machine")
    groups = discover_categories(cleaned(np.load(path)["features"]))
    assert groups.sizes == (23, 21, 6, 4, 6)
    assert groups.silhouette == pytest.approx(0.333, abs=1e-3)
