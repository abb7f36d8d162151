"""A small data set with structure and configurations that train on it in a moment."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spinlock.config import TrainConfig
from spinlock.training.pipeline import TrainResult, train

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny products on several threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_data(path: Path, rows: int = 160, seed: int = 0) -> None:
    """Two families with two factors each, one constant column, one hole."""
    rng = np.random.default_rng(seed)
    families = {}
    for name, width, scale in (("shape", 6, 10.0), ("colour", 4, 0.1)):
        factors = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, width))
        families[name] = (scale * (factors + 0.2 * rng.normal(size=(rows, width)))).astype("f4")
    families["shape"][:, 5] = 3.0
    families["colour"][7, 1] = np.nan
    np.savez(path, **families)


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """Builds a configuration; keyword arguments are sections, ``training={"num_epochs": 3}``."""
    return config_maker(tmp_path)


def config_maker(folder: Path) -> MakeConfig:
    """Configurations whose data set and checkpoints lie in ``folder``."""
    data = folder / "data.npz"
    write_data(data)

    def make(**sections: Any) -> TrainConfig:
        tree: dict[str, Any] = {
            "dataset_path": str(data),
            "model": {"group_embedding_dim": 8, "group_hidden_dim": 8, "decoder_hidden_dim": 8},
            "training": {
                "num_epochs": 4,
                "batch_size": 32,
                "checkpoint_dir": str(folder / "run"),
                "checkpoint_every_n_epochs": 1,
                "category_assignment": "families",
            },
        }
        for key, value in sections.items():
            if isinstance(value, dict) and isinstance(tree.get(key), dict):
                tree[key] = {**tree[key], **value}
            else:
                tree[key] = value
        return TrainConfig.model_validate(tree)

    return make


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    make = config_maker(tmp_path_factory.mktemp("trained"))
    return train(make(training={"num_epochs": 3, "keep_checkpoints": 2}))


@pytest.fixture
def result(_trained: TrainResult, tmp_path: Path) -> TrainResult:
    """A finished run of 3 epochs whose checkpoints are a copy in ``tmp_path / "run"``."""
    shutil.copytree(_trained.checkpoint.parent, tmp_path / "run")
    return dataclasses.replace(_trained, checkpoint=tmp_path / "run" / "epoch_0003")
