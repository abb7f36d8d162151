"""The cases of the analysis suite: contenders, and what each result has to equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.analysis.profile import SCORE_NAMES, profile_category
from spinlock.analysis.statistics import GramMatrix, RowReservoir, column_quantiles, row_blocks
from spinlock.config import load_config
from spinlock.data import load_table
from spinlock.data.categories import CategoryGroups, discover_categories
from spinlock.data.cleaning import FeatureCleaner
from spinlock.training.planning import precompute_compression_ratios

__all__ = [
    "Case",
    "cases",
    "category_case",
    "covariance_case",
    "plan_case",
    "quantile_case",
]

LEVELS = (0.01, 0.25, 0.5, 0.75, 0.99)
COVARIANCE_TOLERANCE = 1e-10
"""Of sqrt(S_ii S_jj)."""
SCORE_TOLERANCE = 1e-9
QUANTILE_TOLERANCE = 1e-6
"""Of a column's standard deviation: numpy interpolates float32 in float32."""

_CONFIG = Path(__file__).parents[2] / "configs" / "vqvae" / "seed_shape.yaml"
_BLOCK_ROWS = 65_536

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One computation by several contenders.

    Attributes:
        workload, shape: as printed.
        contenders: name -> call; spinlock's own names begin with ``spinlock``.
        judge: (name, result) -> what is wrong with it, or nothing.
        notes: name -> what a reader must know.
        flops, bytes: the least that the work needs; 0 where that has no meaning.
    """

    workload: str
    shape: str
    contenders: Mapping[str, Callable[[], Any]]
    judge: Callable[[str, Any], str]
    notes: Mapping[str, str] = field(default_factory=dict)
    flops: float = 0.0
    bytes: float = 0.0


def cases(quick: bool) -> Iterator[Case]:
    """All cases, each built when its turn comes; ``quick`` takes a tenth of the rows."""
    yield plan_case()
    for features, groups in ((118, 7), (500, 25)):
        yield category_case(1000 if quick else 10_000, features, groups)
    rows = 20_000 if quick else 200_000
    yield covariance_case(heavy_tailed(rows, 118))
    yield quantile_case(heavy_tailed(rows, 118))


def heavy_tailed(rows: int, features: int) -> NDArray[np.float32]:
    """Student's t with 4 degrees of freedom over 6 factors, columns of different mean and scale."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((6, features), dtype=np.float32)
    values = rng.standard_normal((rows, 6), dtype=np.float32) @ mixing
    values += 0.3 * rng.standard_normal(values.shape, dtype=np.float32)
    values *= np.sqrt(4.0 / rng.chisquare(4.0, size=(rows, 1))).astype(np.float32)
    values += rng.uniform(-10.0, 10.0, features).astype(np.float32)
    values *= (10.0 ** rng.uniform(-2.0, 2.0, features)).astype(np.float32)
    return values


def plan_case() -> Case:
    """Profiles of the seed-shaped table's categories, and the plan that follows from them."""
    config = load_config(_CONFIG)
    table = load_table(config.dataset_path)
    cleaner = FeatureCleaner(**config.feature_cleaning.model_dump())
    cleaned = cleaner.fit(table).transform(table)
    names = tuple(str(name) for name in cleaner.get_feature_names_out())
    families = cleaner.families_out(table.families)
    groups = discover_categories(cleaned, names, families, assignment="families")
    parts = [cleaned[:, list(columns)] for columns in groups.columns]
    truth = np.array([_true_scores(part) for part in parts])

    def profiles() -> Floats:
        found = (profile_category(n, p) for n, p in zip(groups.names, parts, strict=True))
        return np.array([list(profile.scores().values()) for profile in found])

    def plan() -> Floats:
        metrics = precompute_compression_ratios(config, cleaned, groups).metrics()
        return np.array([[metrics[n][key] for key in SCORE_NAMES] for n in groups.names])

    def judge(name: str, scores: Floats) -> str:
        del name
        return _too_far(np.abs(scores - truth).max(), SCORE_TOLERANCE, "a score")

    contenders: dict[str, Callable[[], Floats]] = {
        "spinlock profile": profiles,
        "spinlock profile + plan": plan,
        "numpy + sklearn PCA": lambda: np.array([_peer_scores(part) for part in parts]),
    }
    rows, features = cleaned.shape
    shape = f"{rows:,} rows x {features}, {len(parts)} categories"
    return Case("profile, seed-shaped", shape, contenders, judge)


def category_case(rows: int, features: int, groups: int) -> Case:
    """Finding planted groups of correlated columns, their number unknown."""
    rng = np.random.default_rng(1)
    owner = np.arange(features) * groups // features
    factors = rng.standard_normal((rows, groups))[:, owner]
    values = (factors + 0.6 * rng.standard_normal((rows, features))).astype(np.float32)
    order = rng.permutation(features)
    values, owner = np.ascontiguousarray(values[:, order]), owner[order]
    most = groups + 10
    truth = _partition(owner)

    def own() -> list[tuple[int, ...]]:
        found: CategoryGroups = discover_categories(values, max_clusters=most)
        return sorted(found.columns)

    def judge(name: str, found: list[tuple[int, ...]]) -> str:
        del name
        return "" if found == truth else f"found {len(found)} groups, not the {groups} planted"

    contenders: dict[str, Callable[[], list[tuple[int, ...]]]] = {
        "spinlock": own,
        "scipy + sklearn": lambda: _peer_clusters(values, most),
    }
    shape = f"{rows:,} rows x {features}, 2..{most} clusters tried, {groups} planted"
    return Case(f"categories, D = {features}", shape, contenders, judge)


def covariance_case(rows: NDArray[np.float32]) -> Case:
    """The covariance of all columns of a table in memory, read in blocks where that is offered."""
    from sklearn.covariance import EmpiricalCovariance
    from sklearn.decomposition import IncrementalPCA

    count, features = rows.shape
    exact = rows.astype(np.float64)
    exact -= exact.mean(axis=0)
    truth = exact.T @ exact / count
    del exact
    scale = np.sqrt(np.outer(truth.diagonal(), truth.diagonal()))

    def own() -> Floats:
        gram = GramMatrix()
        for block in row_blocks(rows, _BLOCK_ROWS):
            gram.update(block)
        return gram.finalise().covariance

    def components() -> Floats:
        model = IncrementalPCA(features, batch_size=_BLOCK_ROWS).fit(rows.astype(np.float64))
        return np.asarray(model.get_covariance() * ((count - 1) / count))

    def judge(name: str, covariance: Floats) -> str:
        del name
        error = (np.abs(covariance - truth) / scale).max()
        return _too_far(error, COVARIANCE_TOLERANCE, "a covariance")

    contenders: dict[str, Callable[[], Floats]] = {
        "spinlock": own,
        "numpy.cov": lambda: np.cov(rows, rowvar=False, bias=True),
        "sklearn EmpiricalCovariance": lambda: np.asarray(
            EmpiricalCovariance(store_precision=False).fit(rows).covariance_
        ),
        "sklearn IncrementalPCA": components,
    }
    return Case(
        "covariance",
        f"{count:,} rows x {features}, float32",
        contenders,
        judge,
        {"sklearn IncrementalPCA": "given float64, for in float32 it is off by 1e-6"},
        flops=float(count) * features * (features + 1),
        bytes=4.0 * count * features,
    )


def quantile_case(rows: NDArray[np.float32], capacity: int | None = None) -> Case:
    """Five quantiles of every column: exact, and from the sample that bounds memory."""
    count, features = rows.shape
    kept = capacity or count // 2
    ordered = np.sort(rows, axis=0)
    truth = np.quantile(ordered.astype(np.float64), LEVELS, axis=0)
    spread = rows.std(axis=0, dtype=np.float64)

    def sampled() -> tuple[Floats, float]:
        reservoir = RowReservoir(kept)
        for i, block in enumerate(row_blocks(rows, _BLOCK_ROWS)):
            reservoir.update(block, i * _BLOCK_ROWS)
        sample = reservoir.finalise()
        return column_quantiles(sample.rows, LEVELS), sample.rank_error()

    def judge(name: str, result: Any) -> str:
        if not name.endswith("sample"):
            error = (np.abs(result - truth) / spread).max()
            return _too_far(error, QUANTILE_TOLERANCE, "a quantile")
        quantiles, bound = result
        error = max(
            _rank_error(ordered[:, column], quantiles[:, column]) for column in range(features)
        )
        return _too_far(error, bound + 1.0 / count, "a rank")

    contenders: dict[str, Callable[[], Any]] = {
        "spinlock": lambda: column_quantiles(rows, LEVELS),
        "spinlock sample": sampled,
        "numpy.quantile": lambda: np.quantile(rows, LEVELS, axis=0),
    }
    return Case(
        "quantiles",
        f"{count:,} rows x {features}, float32, {len(LEVELS)} levels",
        contenders,
        judge,
        {"spinlock sample": f"of {kept:,} rows, within its bound on ranks"},
        bytes=4.0 * count * features,
    )


def _too_far(error: float, allowed: float, what: str) -> str:
    # Written so that NaN is too far.
    return "" if error <= allowed else f"{what} is off by {error:.3g}, allowed are {allowed:.3g}"


def _rank_error(ordered: NDArray[np.float32], quantiles: Floats) -> float:
    ranks = np.searchsorted(ordered, quantiles) / len(ordered)
    return float(np.abs(ranks - LEVELS).max())


def _partition(owner: Sequence[int] | NDArray[Any]) -> list[tuple[int, ...]]:
    labels = np.asarray(owner)
    return sorted(tuple(np.flatnonzero(labels == g).tolist()) for g in np.unique(labels))


def _true_scores(part: NDArray[np.float32]) -> list[float]:
    """The four scores by their definitions, in float64."""
    values = part.astype(np.float64)
    size = values.shape[1]
    spectrum = np.linalg.eigvalsh(np.cov(values.T, bias=True))[::-1]
    return [
        float(np.clip(np.median(values.var(axis=0)), 0.0, 1.0)),
        min(1.0, math.log10(size + 1) / math.log10(101)),
        float(spectrum[:5].sum() / spectrum.sum()),
        float((np.abs(np.corrcoef(values.T)).sum() - size) / (size * (size - 1))),
    ]


def _peer_scores(part: NDArray[np.float32]) -> list[float]:
    """The same as it is usually written, the information score through scikit-learn."""
    from sklearn.decomposition import PCA

    values = part.astype(np.float64)
    size = values.shape[1]
    upper = np.triu_indices(size, 1)
    information: Any = PCA(min(5, size)).fit(values)
    return [
        float(np.clip(np.median(values.var(axis=0)), 0.0, 1.0)),
        min(1.0, math.log10(size + 1) / math.log10(101)),
        float(information.explained_variance_ratio_.sum()),
        float(np.abs(np.asarray(np.corrcoef(values.T))[upper]).mean()),
    ]


def _peer_clusters(values: NDArray[np.float32], most: int) -> list[tuple[int, ...]]:
    """Average linkage on 1 - |r| of robustly scaled columns, the cut of the best silhouette."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    medians: Any = np.median(values, axis=0)
    scales: Any = 1.4826 * np.median(np.abs(values - medians), axis=0)
    correlation: Any = np.corrcoef(np.clip((values - medians) / scales, -5.0, 5.0), rowvar=False)
    distance: Floats = np.clip(1.0 - np.abs(correlation), 0.0, None)
    np.fill_diagonal(distance, 0.0)
    distance = (distance + distance.T) / 2
    tree = linkage(squareform(distance, checks=False), "average")
    cuts = (fcluster(tree, count, "maxclust") for count in range(2, most + 1))
    best = max(cuts, key=lambda labels: silhouette_score(distance, labels, metric="precomputed"))
    return _partition(best)
