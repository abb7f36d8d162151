"""What may be compared with what."""

from typing import Any

import pytest

from spinlock.analysis.strategies import (
    STRATEGIES,
    Strategy,
    register_strategy,
    strategy_names,
    variance_ratios,
)
from spinlock.comparison.settings import PEERS, comparison_settings
from spinlock.errors import ConfigError


def test_the_default_is_everything_there_is() -> None:
    found = comparison_settings()
    assert found.strategies == ("uniform", *strategy_names())
    assert found.baseline == "uniform"
    assert comparison_settings(strategies="uniform,config").strategies == ("uniform", "config")
    assert found.peers == tuple(PEERS)
    assert found.splits == ((0, None), (1, None), (2, None))


def test_a_strategy_that_is_registered_can_be_compared() -> None:
    register_strategy(Strategy("own", "", variance_ratios))
    try:
        assert "own" in comparison_settings().strategies
    finally:
        del STRATEGIES["own"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"strategies": "uniform,balance"}, "unknown strategy 'balance'.*did you mean 'balanced'"),
        ({"strategies": "uniform,,balanced"}, "names with commas"),
        ({"strategies": "uniform,balanced,uniform"}, "uniform given twice"),
        ({"strategies": "uniform,fsq"}, "'fsq' is no strategy but a peer"),
        ({"strategies": "uniform", "peers": "none"}, "nothing to compare 'uniform' with"),
        ({"strategies": "uniform,balanced", "baseline": "variance"}, "'variance' is not compared"),
        ({"peers": "faiss"}, "unknown peer 'faiss'; known: pca_kmeans, joint_rq, fsq, none"),
        ({"num_seeds": 0}, "--seeds: expected .* got 0"),
        ({"folds": 1}, "--folds: expected at least 2, got 1"),
        ({"bits": -3.0}, "--bits: expected .* got -3"),
        ({"bits": float("nan")}, "--bits: expected .* got nan"),
    ],
)
def test_what_is_refused(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        comparison_settings(**asked)
