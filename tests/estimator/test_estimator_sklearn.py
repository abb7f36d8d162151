"""``FeatureTokenizer`` is a scikit-learn transformer: every check of scikit-learn's, no exception.

``check_array_api_input`` skips itself unless SCIPY_ARRAY_API is set.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import estimator_checks

from estimators import tokenizer


@estimator_checks.parametrize_with_checks([tokenizer()])
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


# They give arrays to what was fitted on frames, and the other way round, to compare results.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize(
    "name",
    [
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_set_output_transform_polars",
        "check_global_output_transform_pandas",
        "check_global_set_output_transform_polars",
    ],
)
def test_checks_that_scikit_learn_keeps_for_its_own(name: str) -> None:
    getattr(estimator_checks, name)("FeatureTokenizer", tokenizer())


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(80, 2))
    rows = factors @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(80, 6))
    return pd.DataFrame(rows, columns=list("abcdef"))


def test_grid_search(frame: pd.DataFrame) -> None:
    search = GridSearchCV(tokenizer(), {"num_epochs": [1, 20], "num_levels": [1, 2]}, cv=2)
    search.fit(frame)
    scores = search.cv_results_["mean_test_score"]
    assert (scores < 0).all()
    assert search.best_params_["num_levels"] == 2
    assert search.best_estimator_.transform(frame).shape[1] % 2 == 0


def test_a_classifier_on_tokens(frame: pd.DataFrame) -> None:
    labels = (frame["a"] > 0).astype(int)
    one_hot = OneHotEncoder(handle_unknown="ignore")
    pipeline = make_pipeline(tokenizer(num_epochs=10), one_hot, LogisticRegression())
    assert pipeline.fit(frame, labels).score(frame, labels) > 0.8


def test_columns_of_two_kinds(frame: pd.DataFrame) -> None:
    mixed = frame.assign(city=["Oslo", "Rome"] * 40)
    transformer = make_column_transformer(
        (tokenizer(), ["a", "b", "c"]), (OneHotEncoder(sparse_output=False), ["city"])
    ).set_output(transform="pandas")
    result = transformer.fit_transform(mixed)
    assert result.columns[-1] == "onehotencoder__city_Rome"
    assert result.columns[0] == "featuretokenizer__cluster_1/L0"
    everything = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(sparse_output=False), ["city"]),
            remainder="passthrough",
            verbose_feature_names_out=False,
        ).set_output(transform="pandas"),
        tokenizer(),
    ).fit(mixed)
    assert "city_Rome" in everything[-1].feature_names_in_
