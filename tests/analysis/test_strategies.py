"""The published strategies to the digit, other numbers of levels, and the registry."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinlock.analysis.profile import CategoryProfile
from spinlock.analysis.strategies import (
    STRATEGIES,
    Strategy,
    balanced_ratios,
    get_strategy,
    register_strategy,
    spread_over_levels,
)
from spinlock.errors import ConfigError

UNIT = st.floats(0.0, 1.0)


def profile(
    variance: float = 0.5,
    dimensionality: float = 0.5,
    information: float = 0.5,
    correlation: float = 0.5,
) -> CategoryProfile:
    return CategoryProfile("c", 24, variance, dimensionality, information, correlation)


@pytest.mark.parametrize(
    ("scores", "ratios"),
    [
        ((1.000, 0.697, 0.983, 0.793), (0.31, 0.85, 1.91)),
        ((1.000, 0.751, 0.954, 0.663), (0.31, 0.85, 1.90)),
        ((1.000, 0.388, 1.000, 0.577), (0.32, 0.88, 2.0)),
    ],
)
def test_golden_values(
    scores: tuple[float, float, float, float], ratios: tuple[float, ...]
) -> None:
    assert balanced_ratios(profile(*scores)) == ratios


@pytest.mark.parametrize(
    ("score", "ratios"),
    [
        (0.0, (0.5, 1.0, 1.5)),
        (0.4, (0.5, 1.0, 1.5)),
        (math.nextafter(0.4, 1), (0.4, 1.0, 1.8)),
        (0.7, (0.4, 1.0, 1.8)),
        (math.nextafter(0.7, 1), (0.25, 0.75, 2.0)),
        (1.0, (0.25, 0.75, 2.0)),
    ],
)
def test_variance(score: float, ratios: tuple[float, ...]) -> None:
    assert STRATEGIES["variance"](profile(variance=score), 3) == ratios


@pytest.mark.parametrize(
    ("score", "ratios"),
    [
        (0.0, (0.5, 1.2, 2.0)),
        (0.5, (0.5, 1.2, 2.0)),
        (math.nextafter(0.5, 1), (0.4, 1.0, 1.8)),
        (0.8, (0.4, 1.0, 1.8)),
        (math.nextafter(0.8, 1), (0.3, 0.8, 1.5)),
        (1.0, (0.3, 0.8, 1.5)),
    ],
)
def test_dimensionality(score: float, ratios: tuple[float, ...]) -> None:
    assert STRATEGIES["dimensionality"](profile(dimensionality=score), 3) == ratios


@pytest.mark.parametrize(
    ("information", "correlation", "ratios"),
    [
        (0.0, 0.0, (0.6, 1.5, 2.5)),
        (0.3, 0.5, (0.6, 1.5, 2.5)),
        (0.31, 0.5, (0.5, 1.0, 1.5)),
        (0.5, 0.9, (0.5, 1.0, 1.5)),
        (0.5, 0.91, (0.3, 0.7, 1.2)),
        (1.0, 1.0, (0.3, 0.7, 1.2)),
    ],
)
def test_information(information: float, correlation: float, ratios: tuple[float, ...]) -> None:
    found = STRATEGIES["information"](profile(information=information, correlation=correlation), 3)
    assert found == ratios


def test_balanced_without_any_weight_averages_equally() -> None:
    # [.5, 1, 1.5], [.5, 1.2, 2.0] and, for redundancy 0.5, [.5, 1, 1.5].
    assert balanced_ratios(profile(0.0, 0.0, 1.0, 0.0)) == (0.5, 1.07, 1.67)


@given(UNIT, UNIT, UNIT, UNIT)
def test_balanced_lies_between_the_three_others(a: float, b: float, c: float, d: float) -> None:
    scored = profile(a, b, c, d)
    others = [STRATEGIES[n](scored) for n in ("variance", "dimensionality", "information")]
    for ratio, column in zip(balanced_ratios(scored), zip(*others, strict=True), strict=True):
        assert min(column) - 0.005 <= ratio <= max(column) + 0.005
        assert ratio == round(ratio, 2)


@pytest.mark.parametrize("name", STRATEGIES)
@given(scores=st.tuples(UNIT, UNIT, UNIT, UNIT), num_levels=st.integers(1, 12))
def test_every_strategy_is_total(
    name: str, scores: tuple[float, float, float, float], num_levels: int
) -> None:
    ratios = STRATEGIES[name](profile(*scores), num_levels)
    assert len(ratios) == num_levels
    assert all(type(ratio) is float and ratio > 0.0 for ratio in ratios)
    assert list(ratios) == sorted(ratios)
    assert ratios == STRATEGIES[name](profile(*scores), num_levels)


def test_other_numbers_of_levels_interpolate() -> None:
    published = (0.31, 0.85, 1.91)
    assert spread_over_levels(published, 1) == (0.31,)
    assert spread_over_levels(published, 2) == (0.31, 1.91)
    assert spread_over_levels(published, 3) == published
    assert spread_over_levels(published, 4) == (0.31, 0.67, 1.2, 1.91)
    assert spread_over_levels(published, 7)[::3] == published


@pytest.mark.parametrize("num_levels", [0, -1, True, 2.0])
def test_a_number_of_levels_is_a_positive_integer(num_levels: int) -> None:
    with pytest.raises(ConfigError, match="num_levels"):
        STRATEGIES["variance"](profile(), num_levels)


def test_unknown_strategy_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        get_strategy("balansed")
    message = str(caught.value)
    assert "variance, dimensionality, information, balanced" in message
    assert "did you mean 'balanced'?" in message
    with pytest.raises(ConfigError, match="unknown compression strategy None"):
        get_strategy(None)  # type: ignore[arg-type]


@pytest.fixture
def registry() -> Iterator[None]:
    before = dict(STRATEGIES)
    yield
    STRATEGIES.clear()
    STRATEGIES.update(before)


@pytest.mark.usefixtures("registry")
def test_a_strategy_is_one_row() -> None:
    row = Strategy("flat", "ratio 1 everywhere", lambda _, levels: (1.0,) * levels)
    register_strategy(row)
    assert get_strategy("flat")(profile(), 2) == (1.0, 1.0)
    with pytest.raises(ConfigError, match="registered already"):
        register_strategy(row)
    with pytest.raises(ConfigError, match="needs a name"):
        register_strategy(Strategy("", "", row.rule))
