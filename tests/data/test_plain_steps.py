"""The plain cleaner and normaliser against the estimators, which are the same with scikit-learn."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from spinlock.data.cleaning import FeatureCleaner
from spinlock.data.column_cleaner import ColumnCleaner
from spinlock.data.column_normaliser import ColumnNormaliser
from spinlock.data.fitted import parameters_of
from spinlock.data.normalisation import Normaliser

Matrix = NDArray[np.float32]


@pytest.fixture
def normal() -> Matrix:
    return np.random.default_rng(7).normal(size=(400, 5)).astype(np.float32)


PLAIN = [(FeatureCleaner, ColumnCleaner), (Normaliser, ColumnNormaliser)]


@pytest.mark.parametrize(("estimator", "plain"), PLAIN)
def test_the_plain_form_does_the_same(estimator: Any, plain: Any, normal: Matrix) -> None:
    fitted, twin = estimator(seed=4).fit(normal), plain(seed=4).fit(normal)
    x = twin.transform(normal)
    assert np.array_equal(fitted.transform(normal), x)
    assert np.array_equal(fitted.inverse_transform(x), twin.inverse_transform(x))
    states = [json.dumps(step.to_state(), default=np.ndarray.tolist) for step in (fitted, twin)]
    assert states[0] == states[1]
    assert parameters_of(twin) == fitted.get_params()
    assert type(estimator.from_state(twin.to_state())) is estimator
    assert type(plain.from_state(fitted.to_state())) is plain
    with pytest.raises(NotFittedError) as theirs:
        check_is_fitted(estimator())
    with pytest.raises(NotFittedError) as ours:
        plain().transform(normal)
    assert str(ours.value) == str(theirs.value).replace(estimator.__name__, plain.__name__)


@pytest.mark.parametrize("estimator", [FeatureCleaner, Normaliser])
def test_frames_come_back_where_set_output_asks_for_them(estimator: Any, normal: Matrix) -> None:
    step = estimator().set_output(transform="pandas")
    for frame in (step.fit_transform(normal), step.transform(normal)):
        assert isinstance(frame, pd.DataFrame)
        assert list(frame.columns) == ["x0", "x1", "x2", "x3", "x4"]
