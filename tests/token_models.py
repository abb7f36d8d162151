"""Small trained models and the rows that they were trained on, for tests of tokens."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from spinlock.config import TrainConfig
from spinlock.data.readers import load_table
from spinlock.training.checkpoint import SavedModel, load_model
from spinlock.training.pipeline import train


@dataclass(frozen=True)
class Trained:
    """Attributes: the checkpoint folder, what it holds, the data file and its rows [600, 16]."""

    folder: Path
    saved: SavedModel
    data: Path
    rows: NDArray[np.float32]


def train_small(folder: Path, *, hierarchy: str = "residual", seed: int = 0) -> Trained:
    """Two families with two factors each, a constant column, a repeated one, and holes."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    families = {}
    for name, width in (("shape", 9), ("colour", 5)):
        factors = rng.normal(size=(600, 2)) @ rng.normal(size=(2, width))
        families[name] = 10 * (factors + 0.2 * rng.normal(size=(600, width)))
    families["shape"][:, 5] = 3.0
    families["colour"][::7, 1] = np.nan
    families["colour"][3, 2] = np.inf
    names = {name: [f"{name}_{i}" for i in range(v.shape[1])] for name, v in families.items()}
    arrays = {name: values.astype(np.float32) for name, values in families.items()}
    labels = np.arange(600) % 3
    np.savez(
        folder / "data.npz",
        **arrays,
        **{f"{name}_feature_names": np.array(n) for name, n in names.items()},
        labels=labels,
    )
    train(
        TrainConfig.model_validate(
            {
                "dataset_path": str(folder / "data.npz"),
                "model": {
                    "hierarchy": hierarchy,
                    "group_embedding_dim": 8,
                    "group_hidden_dim": 8,
                    "decoder_hidden_dim": 8,
                },
                "training": {
                    "num_epochs": 2,
                    "batch_size": 64,
                    "category_assignment": "families",
                    "checkpoint_dir": str(folder / "run"),
                },
                "random_seed": seed,
            }
        )
    )
    saved = load_model(folder / "run")
    table = load_table(folder / "data.npz")
    assert saved.path is not None
    return Trained(saved.path, saved, folder / "data.npz", table.features)


def write_shards(trained: Trained, folder: Path) -> str:
    """The rows in three Parquet files of different sizes, with labels; a glob over them."""
    folder.mkdir()
    names = trained.saved.preprocessing.names
    labels = np.arange(len(trained.rows)) % 3
    for part, start, stop in ((1, 0, 200), (2, 200, 290), (10, 290, len(trained.rows))):
        columns = {name: trained.rows[start:stop, i] for i, name in enumerate(names)}
        table = pa.table(columns | {"labels": labels[start:stop]})
        parquet.write_table(table, folder / f"part-{part}.parquet", row_group_size=64)
    return str(folder / "*.parquet")
