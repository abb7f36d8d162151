"""One small trained checkpoint with its data and tokens, copied for every bad input."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bad_inputs import CANARY, World
from spinlock.cli.main import main


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that every test gets a copy of."""
    root = tmp_path_factory.mktemp("grown")
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 7)) + 0.1 * rng.normal(size=(120, 7))
    names = np.array([*(f"shape::{i}" for i in range(4)), *(f"tone::{i}" for i in range(3))])
    np.savez(root / "data.npz", features=mixed.astype(np.float32), feature_names=names)
    (root / "secret.txt").write_text(CANARY)
    (root / "run.yaml").write_text(
        f"""
dataset_path: {root / "data.npz"}
model: {{group_embedding_dim: 4, group_hidden_dim: 4, decoder_hidden_dim: 4}}
training: {{num_epochs: 1, batch_size: 32, category_assignment: families,
  checkpoint_dir: {root / "run"}}}
"""
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert main(["train-vqvae", "--config", str(root / "run.yaml"), "--quiet"]) == 0
    data, run, tokens = (str(root / name) for name in ("data.npz", "run", "tokens.npz"))
    assert main(["encode", run, data, "-o", tokens, "--quiet"]) == 0
    torch.set_num_threads(threads)
    return root


@pytest.fixture
def world(grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A copy that may be damaged; the working directory."""
    root = tmp_path / "world"
    shutil.copytree(grown, root)
    config = (root / "run.yaml").read_text().replace(str(grown), str(root))
    (root / "run.yaml").write_text(config)
    monkeypatch.chdir(root)
    return World(root)
