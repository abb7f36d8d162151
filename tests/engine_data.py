"""Data sets of several files, and runs on them, for tests of the engines."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from spinlock.config import TrainConfig, make_config
from spinlock.data import FeatureTable

ROWS = 2_300


def table_of(rows: int = ROWS, seed: int = 5) -> FeatureTable:
    """Two families of related columns, with holes, a constant and a copy."""
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, 6)) + 3.0
    narrow = rng.normal(size=(rows, 1)) @ rng.normal(size=(1, 4)) * 100.0
    x = np.concatenate([wide, narrow, np.ones((rows, 1)), wide[:, :1]], axis=1)
    x += 0.1 * x.std(axis=0) * rng.normal(size=x.shape)
    x = x.astype(np.float32)
    x[rng.random(x.shape) < 0.03] = np.nan
    return FeatureTable.from_families({"wide": x[:, :6], "narrow": x[:, 6:]})


def shards(folder: Path, kind: str, table: FeatureTable | None = None) -> str:
    """A glob over the table's rows in files of different sizes."""
    table = table_of() if table is None else table
    home = folder / kind
    home.mkdir()
    cuts = [0, 150, 400, 1500, table.num_rows]
    for part, (start, stop) in enumerate(pairwise(cuts)):
        rows = table.features[start:stop]
        if kind == "parquet":
            arrays = [pa.array(column) for column in rows.T]
            made = pa.Table.from_arrays(arrays, list(table.names))
            parquet.write_table(made, home / f"part-{part}.parquet", row_group_size=130)
            continue
        with h5py.File(home / f"part-{part}.h5", "w") as file:
            for family in table.family_names:
                mine = [i for i, owner in enumerate(table.families) if owner == family]
                file.create_dataset(
                    f"features/{family}/features", data=rows[:, mine], chunks=(50, len(mine))
                )
    return str(home / f"*.{'parquet' if kind == 'parquet' else 'h5'}")


def config_of(path: str, folder: Path, **keys: object) -> TrainConfig:
    """A run on a sample, whose statistics are of all rows."""
    training = {
        "num_epochs": 1,
        "batch_size": 64,
        "min_features_per_category": 2,
        "checkpoint_dir": str(folder / "run"),
    }
    model = {
        "group_embedding_dim": 8,
        "group_hidden_dim": 8,
        "decoder_hidden_dim": 8,
        "auto_compression_strategy": "rate_distortion",
    }
    return make_config(
        {
            "dataset_path": path,
            "training": training,
            "model": model,
            "max_samples": 700,
            "fit_rows": "all",
            "feature_cleaning": {"missing_indicators": True},
            **keys,
        }
    )
