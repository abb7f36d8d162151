"""A trained model and the data set that it was trained on."""

import shutil
from pathlib import Path

import pytest
import torch

from spinlock.training.checkpoint import load_model
from token_models import Trained, train_small


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", params=["residual", "independent"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Each form of the model."""
    return train_small(tmp_path_factory.mktemp(request.param), hierarchy=request.param)


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_small(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model of the same data and another seed."""
    return train_small(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture
def trained(_trained: Trained, tmp_path: Path) -> Trained:
    """A residual model whose files may be changed."""
    folder = shutil.copytree(_trained.folder, tmp_path / "model")
    data = Path(shutil.copy(_trained.data, tmp_path / "data.npz"))
    return Trained(folder, load_model(folder), data, _trained.rows)
