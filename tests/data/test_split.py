"""The published split rule, its edges and its errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinlock.data.split import split_rows
from spinlock.errors import ConfigError, DataError


@given(st.integers(4, 300), st.floats(0.0, 0.5), st.integers(0, 1_000))
def test_the_rule_and_that_every_row_is_in_one_part(rows: int, share: float, seed: int) -> None:
    training, validation = split_rows(rows, share, seed)
    p = np.random.RandomState(1000 + seed).permutation(rows)
    held = int(share * rows)
    assert validation.tolist() == p[:held].tolist()
    assert training.tolist() == p[held:].tolist()
    assert training.dtype == validation.dtype == np.int64


def test_frozen_split() -> None:
    training, validation = split_rows(10, 0.3, seed=5)
    assert validation.tolist() == [5, 6, 2]
    assert training.tolist() == [7, 4, 0, 1, 8, 9, 3]


def test_no_validation_rows_is_allowed() -> None:
    training, validation = split_rows(3, 0.0, seed=0)
    assert (len(training), len(validation)) == (3, 0)


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan")])
def test_shares_outside_the_range(share: float) -> None:
    with pytest.raises(ConfigError, match=r"training.validation_split.*below 1"):
        split_rows(100, share, 0)


@pytest.mark.parametrize(("rows", "share"), [(0, 0.0), (1, 0.0), (10, 0.9), (2, 0.5)])
def test_too_few_training_rows(rows: int, share: float) -> None:
    with pytest.raises(DataError, match=r"at least 2 are needed.*Lower"):
        split_rows(rows, share, 0)


def test_seeds_that_numpy_does_not_take() -> None:
    with pytest.raises(ConfigError, match="random_seed"):
        split_rows(100, 0.2, 2**32)
