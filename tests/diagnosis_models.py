"""Small trained models to diagnose: any names, both forms, images or none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spinlock.config import TrainConfig
from spinlock.training.checkpoint import SavedModel, load_model
from spinlock.training.pipeline import train

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    r"$\frac{1}{",
    "猫é🙂 --><b>x</b>",
    "javascript:alert(3)//' onload='x",
)


def families(
    widths: Mapping[str, int], rows: int = 200, seed: int = 0
) -> dict[str, np.ndarray[Any, Any]]:
    """Columns with two factors per family and noise."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.normal(size=(rows, 2)) @ rng.normal(size=(2, width))
            + 0.3 * rng.normal(size=(rows, width))
        ).astype(np.float32)
        for name, width in widths.items()
    }


def trained(folder: Path, widths: Mapping[str, int], **sections: Any) -> SavedModel:
    """A model of two epochs on ``folder / "data.npz"``, one category per family."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", **families(widths))
    return trained_on(folder, str(folder / "data.npz"), **sections)


def trained_on(folder: Path, data: str, **sections: Any) -> SavedModel:
    """A model of two epochs on a data set, its checkpoints in ``folder / "run"``."""
    torch.set_num_threads(1)
    training = {
        "num_epochs": 2,
        "batch_size": 64,
        "category_assignment": "families",
        "checkpoint_dir": str(folder / "run"),
    }
    model = {"group_embedding_dim": 8, "group_hidden_dim": 8, "decoder_hidden_dim": 8}
    tree = {
        "dataset_path": data,
        "training": {**training, **sections.pop("training", {})},
        "model": {**model, **sections.pop("model", {})},
        **sections,
    }
    train(TrainConfig.model_validate(tree))
    return load_model(folder / "run")
