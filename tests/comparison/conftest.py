"""A labelled data set of two categories, and runs on it that take a moment."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

from spinlock.comparison.downstream import CLASSIFIERS
from spinlock.config import TrainConfig, make_config

ROWS = 150


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread, and a forest of few trees."""
    few = partial(RandomForestClassifier, 10, random_state=0)
    monkeypatch.setitem(CLASSIFIERS, "random forest", few)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    """Two given categories of 6 and 4 features, three classes, two epochs."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, ROWS)
    families = {}
    for name, width in (("shape", 6), ("colour", 4)):
        centres = 2.0 * rng.normal(size=(3, width))
        factors = rng.normal(size=(ROWS, 2)) @ rng.normal(size=(2, width))
        families[name] = centres[labels] + factors + 0.2 * rng.normal(size=(ROWS, width))
    np.savez(tmp_path / "data.npz", labels=labels, **families)
    return make_config(
        {
            "dataset_path": str(tmp_path / "data.npz"),
            "model": {"group_embedding_dim": 8, "group_hidden_dim": 8, "decoder_hidden_dim": 8},
            "training": {
                "num_epochs": 2,
                "batch_size": 32,
                "checkpoint_every_n_epochs": 1,
                "category_assignment": "families",
                "checkpoint_dir": str(tmp_path / "elsewhere"),
            },
        }
    )
