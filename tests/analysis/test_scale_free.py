"""balanced_scale_free: units change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.analysis.profile import effective_rank_score, profile_category, profile_from_gram
from spinlock.analysis.statistics import GramMatrix
from spinlock.analysis.strategies import STRATEGIES

RULE = STRATEGIES["balanced_scale_free"]


def mixed(width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, width + 1))
    rows = rng.normal(size=(60, rank)) @ rng.normal(size=(rank, width))
    return rows + rng.uniform(0.01, 1.0) * rng.normal(size=rows.shape)


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
    num_levels=st.integers(1, 5),
)
def test_positive_rescaling_of_any_column_changes_nothing(
    width: int, seed: int, data: st.DataObject, num_levels: int
) -> None:
    rows = mixed(width, seed)
    scale = st.floats(1e-6, 1e6)
    scales = np.array(data.draw(st.lists(scale, min_size=width, max_size=width)))
    before = profile_category("c", rows, scale_free=True)
    after = profile_category("c", rows * scales, scale_free=True)
    assert after.scores() == pytest.approx(before.scores(), abs=2e-9)
    assert RULE(after, num_levels) == RULE(before, num_levels)


@pytest.mark.parametrize("factor", [1e-135, 1e-130, 1e-45, 1e135])
def test_units_as_small_and_large_as_float64_takes(factor: float) -> None:
    rows = mixed(6, 4)
    before = profile_category("c", rows, scale_free=True)
    after = profile_category("c", rows * factor, scale_free=True)
    assert after.scores() == pytest.approx(before.scores(), abs=2e-9)


def test_the_published_scores_do_change() -> None:
    rows = mixed(8, 1)
    scales = 10.0 ** np.arange(-4, 4)
    assert profile_category("c", rows).scores() != profile_category("c", rows * scales).scores()


def test_float32_columns_in_other_units() -> None:
    rows = mixed(9, 2).astype(np.float32)
    scales = np.float32(2.0) ** np.arange(-4, 5, dtype=np.float32)
    before = profile_category("c", rows, scale_free=True)
    assert profile_category("c", rows * scales, scale_free=True).scores() == before.scores()


def test_scores_are_those_of_z_scores() -> None:
    rows = mixed(7, 3) * np.array([1, 10, 100, 1e3, 1e-3, 5, 7])
    z = (rows - rows.mean(0)) / rows.std(0)
    found = profile_category("c", rows, scale_free=True)
    plain = profile_category("c", z)
    np.testing.assert_allclose(found.spectrum, plain.spectrum, atol=1e-9)
    assert found.information_score == pytest.approx(plain.information_score, abs=1e-8)
    assert found.correlation_score == pytest.approx(plain.correlation_score, abs=1e-8)
    assert plain.variance_score == pytest.approx(1.0)
    shares = np.array(plain.spectrum) / 7
    rank = np.exp(-(shares * np.log(shares)).sum())
    assert found.variance_score == pytest.approx((rank - 1) / 6, abs=1e-8)


def test_extremes() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(50, 1))
    assert profile_category("c", one * np.ones((1, 4)), scale_free=True).variance_score < 1e-6
    assert profile_category("c", one, scale_free=True).variance_score == 0.0
    hadamard = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    independent = hadamard[:, 1:] * np.array([1.0, 50.0, 0.02])
    assert profile_category("c", independent, scale_free=True).variance_score == 1.0
    assert effective_rank_score([2.0, 2.0, 0.0, 0.0]) == pytest.approx(1 / 3)


def test_a_constant_column_has_no_variance() -> None:
    rows = np.column_stack([mixed(3, 4), np.full(60, 7.0)])
    found = profile_category("c", rows, scale_free=True)
    assert sum(found.spectrum) == pytest.approx(3.0)
    assert found.variance_score < 1.0


def test_merged_statistics_give_the_same() -> None:
    rows = mixed(6, 5)
    gram = GramMatrix().update(rows[:20]).merge(GramMatrix().update(rows[20:])).finalise()
    found = profile_from_gram("c", gram, [1, 4, 5], scale_free=True)
    direct = profile_category("c", rows[:, [1, 4, 5]], scale_free=True)
    assert found.scores() == direct.scores()
