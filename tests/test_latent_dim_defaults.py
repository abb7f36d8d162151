"""The published names, called as users of the published system call them."""

import math
from typing import Any

import numpy as np
import pytest

from spinlock import latent_dim_defaults as defaults
from spinlock.errors import ConfigError, DataError

FEATURES = np.random.default_rng(1).normal(size=(200, 24)) * 3.0


def test_characteristics_are_plain_floats_in_the_published_order() -> None:
    scores = defaults.analyze_category_characteristics(FEATURES)
    assert list(scores) == [
        "variance_score",
        "dimensionality_score",
        "information_score",
        "correlation_score",
    ]
    assert {type(score) for score in scores.values()} == {float}
    assert scores["variance_score"] == 1.0
    assert scores["dimensionality_score"] == pytest.approx(math.log10(25) / math.log10(101))


@pytest.mark.parametrize("strategy", ["variance", "dimensionality", "information", "balanced"])
def test_adaptive_ratios(strategy: str) -> None:
    by_keyword = defaults.compute_adaptive_compression_ratios(
        FEATURES, category_name="cluster_1", strategy=strategy
    )
    assert by_keyword == defaults.compute_adaptive_compression_ratios(FEATURES, strategy)
    assert len(by_keyword) == 3
    assert {type(ratio) for ratio in by_keyword} == {float}
    two = defaults.compute_adaptive_compression_ratios(FEATURES, strategy, num_levels=2)
    assert two == by_keyword[::2]


def test_balanced_is_the_default() -> None:
    assert defaults.compute_adaptive_compression_ratios(
        FEATURES
    ) == defaults.compute_adaptive_compression_ratios(FEATURES, "balanced")


def test_errors_name_the_category_and_the_reason() -> None:
    with pytest.raises(DataError, match=r"'cluster_1'.*non-finite"):
        defaults.compute_adaptive_compression_ratios(
            np.full((3, 2), np.nan), category_name="cluster_1"
        )
    with pytest.raises(ConfigError, match="unknown compression strategy 'cluster_1'"):
        defaults.compute_adaptive_compression_ratios(FEATURES, "cluster_1")
    with pytest.raises(DataError, match="shape"):
        defaults.analyze_category_characteristics(np.ones(5))


def test_latent_dims() -> None:
    assert defaults.compute_default_latent_dims(24, [0.31, 0.85, 1.91]) == [8, 24, 48]
    assert defaults.compute_default_latent_dims(24, "0.31:0.85:1.91", alignment=1) == [8, 21, 46]
    levels = [{"num_tokens": 9}, {"latent_dim": 5}, {}]
    assert defaults.fill_missing_latent_dims(levels, 24, [0.31, 0.85, 1.91]) == [
        {"num_tokens": 9, "latent_dim": 8},
        {"latent_dim": 5},
        {"latent_dim": 48},
    ]


@pytest.mark.parametrize("ratios", ["auto", {"a": [1.0]}])
def test_latent_dims_need_the_ratios_of_one_category(ratios: Any) -> None:
    with pytest.raises(ConfigError, match="ratios of one category"):
        defaults.compute_default_latent_dims(24, ratios)


def test_num_tokens_by_either_rule() -> None:
    published = defaults.compute_default_num_tokens(
        num_levels=3, group_embedding_dim=24, n_samples=10_000
    )
    assert published == defaults.compute_default_num_tokens(3, 24, 10_000) == [32, 16, 8]
    assert defaults.compute_default_num_tokens(latent_dims=[8, 24, 48]) == [20, 32, 36]
    with pytest.raises(ConfigError, match="not both"):
        defaults.compute_default_num_tokens(3, 24, 10_000, latent_dims=[8])
    with pytest.raises(ConfigError, match="group_embedding_dim"):
        defaults.compute_default_num_tokens(3)


def test_fill_missing_num_tokens_by_either_rule() -> None:
    levels = [{"latent_dim": 8}, {"latent_dim": 24, "num_tokens": 7}]
    assert [v["num_tokens"] for v in defaults.fill_missing_num_tokens(levels)] == [20, 7]
    counted = defaults.fill_missing_num_tokens(levels, group_embedding_dim=24, n_samples=10_000)
    assert [v["num_tokens"] for v in counted] == [32, 7]


def test_ratios_in_plain_types() -> None:
    assert defaults.parse_compression_ratios("auto") == "auto"
    assert defaults.parse_compression_ratios("4:2:1", num_levels=3) == [4.0, 2.0, 1.0]
    assert defaults.parse_compression_ratios({"a": "1:2"}) == {"a": [1.0, 2.0]}
    with pytest.raises(ConfigError, match="has 2 levels, expected 3"):
        defaults.parse_compression_ratios("1:2", num_levels=3)
    with pytest.raises(ConfigError, match="must be finite and > 0"):
        defaults.parse_compression_ratios("1:0")


def test_strategies_beyond_the_published_ones() -> None:
    features = np.random.default_rng(0).normal(size=(300, 12)) @ np.diag(10.0 ** np.arange(-6, 6))
    in_other_units = features * 10.0 ** np.arange(6, -6, -1)
    found = [
        defaults.compute_adaptive_compression_ratios(x, "balanced_scale_free")
        for x in (features, in_other_units)
    ]
    assert found[0] == found[1]
    with pytest.raises(ConfigError, match="over all categories at once"):
        defaults.compute_adaptive_compression_ratios(features, "rate_distortion")
