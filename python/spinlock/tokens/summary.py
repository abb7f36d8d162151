"""What a checkpoint or a token file is, in plain types."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spinlock.tokens.files import open_tokens
from spinlock.training.folder import position
from spinlock.training.manifest import MANIFEST, file_sizes
from spinlock.training.saved import SavedModel


def model_summary(saved: SavedModel) -> dict[str, Any]:
    """A trained model: data, categories, model, tokens, contract, metrics, plan."""
    preprocessing, contract = saved.preprocessing, saved.contract
    names = iter(preprocessing.feature_names)
    groups = zip(preprocessing.groups.names, preprocessing.groups.sizes, strict=True)
    return {
        "data": {
            "dataset_path": saved.config.dataset_path,
            "fingerprint": saved.data_fingerprint,
            "rows": dict(saved.rows),
            "features_read": len(preprocessing.names),
            "features": len(preprocessing.feature_names),
            "families": dict(Counter(preprocessing.families)),
        },
        "categories": {name: [next(names) for _ in range(size)] for name, size in groups},
        "model": {
            "hierarchy": saved.config.model.hierarchy,
            "parameters": sum(p.numel() for p in saved.model.parameters()),
            "codes": saved.plan.total_codes,
        },
        "tokens": {
            "per_row": len(contract.quantizers),
            "bits_per_row": saved.plan.bits,
            "dtype": str(contract.token_dtype),
        },
        "contract": contract.to_dict(),
        "epochs": len(saved.history),
        "metrics": None if saved.metrics is None else saved.metrics.to_dict(),
        "plan": saved.plan.to_dict(),
    }


def with_folder(summary: Mapping[str, Any], saved: SavedModel) -> dict[str, Any]:
    """A model's summary with what its checkpoint folder is: versions, sizes, whether it resumes.

    Raises:
        CheckpointError: the folder is not a checkpoint any more, or lacks a file.
    """
    folder = saved.path
    assert folder is not None, "a model in memory has no folder"
    sizes = file_sizes(folder)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    return {
        "checkpoint": {
            "path": str(folder),
            "spinlock_version": manifest["spinlock_version"],
            "format_version": manifest["format_version"],
            "can_resume": "training_state.json" in sizes and position(folder.name) is not None,
            "bytes": sum(sizes.values()),
            "files": sizes,
        },
        **summary,
    }


def tokens_summary(path: Path, saved: SavedModel | None = None) -> dict[str, Any]:
    """A token file: rows, dtype, contract.

    Args:
        path: the file.
        saved: the model that the tokens have to be of; None asks nothing.

    Raises:
        DataError: no token file, a damaged one, or one of another model.
    """
    with open_tokens(path) as tokens:
        contract = tokens.contract
        if saved is not None:
            saved.contract.require(contract, f"'{path}'", owner=saved.where)
        return {
            "path": str(path),
            "bytes": path.stat().st_size,
            "rows": tokens.num_rows,
            "dtype": str(contract.token_dtype),
            "bits_per_row": math.fsum(map(math.log2, contract.codebook_sizes)),
            "contract": contract.to_dict(),
            "checkpoint": None if saved is None else str(saved.path),
        }
