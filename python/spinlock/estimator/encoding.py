"""How a tokenizer encodes, which is no part of a run, kept beside its model."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spinlock.config.paths import expand_user
from spinlock.config.plain import plain
from spinlock.errors import CheckpointError
from spinlock.training.checkpoint_parts import TRAINING_STATE, model_files
from spinlock.training.manifest import listed_files, read_files
from spinlock.training.model_folder import write_model_folder
from spinlock.training.saved import SavedModel
from spinlock.training.state import decode_json, encode_json

ENCODING = "encoding.json"
# What a tokenizer does that was saved before these were kept, or by a run.
DEFAULTS: dict[str, Any] = {"beam": 1, "sweeps": 0, "own_error_limit": None, "restarts": 0}


def save_tokenizer(
    saved: SavedModel, parameters: Mapping[str, Any], folder: str | os.PathLike[str]
) -> Path:
    """Writes a model with the ``DEFAULTS`` among ``parameters`` as a checkpoint folder.

    Raises:
        CheckpointError: the folder holds something else, or it cannot be written.
    """
    chosen = {name: plain(parameters[name]) for name in DEFAULTS}
    if chosen["own_error_limit"] == math.inf:  # JSON has no infinity; None means the same
        chosen["own_error_limit"] = None
    files = {**model_files(saved), ENCODING: encode_json(chosen)}
    place = Path(expand_user(str(folder), "folder"))
    return write_model_folder(place, files, overwrite=True, state_files=TRAINING_STATE)


def read_encoding(folder: Path) -> dict[str, Any]:
    """The parameters that :func:`save_tokenizer` wrote; ``DEFAULTS`` where a folder has none.

    Raises:
        CheckpointError: damaged, or no such parameters.
    """
    if ENCODING not in listed_files(folder):
        return dict(DEFAULTS)
    where = f"'{folder / ENCODING}'"
    found = decode_json(read_files(folder, [ENCODING])[ENCODING], where)
    if not isinstance(found, dict) or found.keys() != DEFAULTS.keys() or not _numbers(found):
        raise CheckpointError(
            f"{where}: expected whole numbers {', '.join(DEFAULTS)} (own_error_limit any number or "
            f"null), got {found!r:.200}: it was changed after it was written; use another"
        )
    return found


def _numbers(found: Mapping[str, Any]) -> bool:
    limit = found["own_error_limit"]
    whole = all(type(value) is int for name, value in found.items() if name != "own_error_limit")
    return whole and (limit is None or type(limit) in (int, float))
