"""One fitted tokenizer for the tests that only use it."""

import copy
from collections.abc import Iterator

import pandas as pd
import pytest
import torch

from estimators import columns, tokenizer
from spinlock.estimator import FeatureTokenizer


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny products on several threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def _frame() -> pd.DataFrame:
    return columns()


@pytest.fixture
def frame(_frame: pd.DataFrame) -> pd.DataFrame:
    """Six columns of 60 rows."""
    return _frame.copy()


@pytest.fixture(scope="session")
def _fitted(_frame: pd.DataFrame) -> FeatureTokenizer:
    return tokenizer(category_assignment="families", num_epochs=12).fit(_frame)


@pytest.fixture
def fitted(_fitted: FeatureTokenizer) -> FeatureTokenizer:
    """Fitted on ``frame``, one category per family."""
    return copy.deepcopy(_fitted)
