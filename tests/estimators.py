"""A small tokenizer and a frame to fit it on."""

from typing import Any

import numpy as np
import pandas as pd

from spinlock.estimator import FeatureTokenizer

NARROW = {"model": {"group_embedding_dim": 8, "group_hidden_dim": 8, "decoder_hidden_dim": 8}}


def tokenizer(**parameters: Any) -> FeatureTokenizer:
    """One that trains in a moment."""
    return FeatureTokenizer(**{"num_epochs": 2, "config": NARROW, **parameters})


def columns(rows: int = 60) -> pd.DataFrame:
    """Two families of columns, one of them correlated; one constant column, one hole."""
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, 3)) + 0.1 * rng.normal(size=(rows, 3))
    table = pd.DataFrame(10 * shape + 5, columns=["shape::area", "shape::width", "shape::height"])
    table["age"] = rng.normal(size=rows)
    table["income"] = 1e4 * rng.normal(size=rows)
    table["always"] = 7.0
    table.loc[3, "age"] = np.nan
    return table.set_index(np.arange(rows) + 100)
