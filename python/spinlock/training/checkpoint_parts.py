"""The files of a checkpoint: what goes into each, and reading each back with one readable error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from spinlock.analysis.plan import CompressionPlan
from spinlock.config import TrainConfig, dump_config, parse_config
from spinlock.data.indicators import MissingIndicators
from spinlock.data.restoration import ColumnRestoration
from spinlock.errors import CheckpointError, DataError
from spinlock.training.callbacks import EpochRecord
from spinlock.training.metrics import EvaluationMetrics
from spinlock.training.preprocessing import Preprocessing
from spinlock.training.saved import SavedModel
from spinlock.training.state import (
    decode_json,
    decode_tensors,
    encode_json,
    encode_tensors,
    flatten_state,
    restore_state,
)
from spinlock.vqvae.contract import TokenContract

MODEL = "model.safetensors"
CONFIG = "config.yaml"
PREPROCESSING = ("preprocessing.json", "preprocessing.safetensors")
TRAINING_STATE = ("training_state.json", "training_state.safetensors")
HISTORY = "history.json"
METRICS = "metrics.json"
TOKENS = "tokens.json"

# What reading contents that make no sense can raise.
SENSELESS = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
)  # fmt: skip

_T = TypeVar("_T")


def described_files(
    config: TrainConfig,
    preprocessing: Preprocessing,
    plan: CompressionPlan,
    data_fingerprint: str | None,
    rows: Mapping[str, int],
) -> dict[str, bytes]:
    """The files that are the same throughout a run."""
    tree, tensors = flatten_state(
        {
            **preprocessing.to_state(),
            "plan": plan.to_dict(),
            "data_fingerprint": data_fingerprint,
            "rows": dict(rows),
        }
    )
    return {
        CONFIG: dump_config(config).encode("utf-8"),
        PREPROCESSING[0]: encode_json(tree),
        PREPROCESSING[1]: encode_tensors(tensors),
    }


def measured_files(
    history: Sequence[EpochRecord], metrics: EvaluationMetrics | None
) -> dict[str, bytes]:
    """The history, and the last measurement with the epoch that it is of."""
    measured = [record for record in history if record.validation is not None]
    tree = {
        "epoch": measured[-1].epoch if measured else None,
        "split": measured[-1].split if measured else None,
        "metrics": None if metrics is None else metrics.to_dict(),
    }
    return {
        HISTORY: encode_json([record.to_dict() for record in history]),
        METRICS: encode_json(tree),
    }


def model_files(saved: SavedModel) -> dict[str, bytes]:
    """All that :func:`~spinlock.training.checkpoint.save_model` writes."""
    return {
        MODEL: encode_tensors(saved.model.state_dict()),
        **described_files(
            saved.config, saved.preprocessing, saved.plan, saved.data_fingerprint, saved.rows
        ),
        **measured_files(saved.history, saved.metrics),
        TOKENS: encode_json(saved.contract.to_dict()),
    }


def check_contract(folder: Path, files: Mapping[str, bytes], saved: SavedModel) -> None:
    """Refuses a model that is not the one which the checkpoint's contract describes.

    A checkpoint of format version 1 has no contract to compare with.

    Raises:
        CheckpointError: they differ, or the contract is none.
    """
    if TOKENS not in files:
        return
    where = f"'{folder / TOKENS}'"
    try:
        written = TokenContract.from_dict(decode_json(files[TOKENS], where), where)
    except DataError as error:
        raise CheckpointError(f"{error}; use another checkpoint") from error
    if written != saved.contract:
        differing = [
            key
            for key, value in saved.contract.to_dict().items()
            if written.to_dict()[key] != value
        ]
        raise CheckpointError(
            f"{where} is about another model than '{folder / MODEL}' ({', '.join(differing)} "
            "differ): its files do not belong together; use another checkpoint"
        )


def read_history(folder: Path, files: Mapping[str, bytes]) -> list[EpochRecord]:
    """One record per whole epoch.

    Raises:
        CheckpointError: it makes no sense.
    """
    history = decode_json(files[HISTORY], f"'{folder / HISTORY}'")
    return understood(folder, lambda: [EpochRecord.from_dict(entry) for entry in history])


def read_preprocessing(
    folder: Path, files: Mapping[str, bytes]
) -> tuple[TrainConfig, Preprocessing, CompressionPlan, dict[str, Any]]:
    """Configuration, preprocessing, plan, and all that the preprocessing files say.

    Raises:
        CheckpointError: they make no sense or contradict each other.
    """
    state = read_state(folder, files, PREPROCESSING)

    def build() -> tuple[TrainConfig, Preprocessing, CompressionPlan, dict[str, Any]]:
        config = parse_config(files[CONFIG], f"'{folder / CONFIG}'")
        _complete_version_1(state["cleaner"])
        preprocessing = Preprocessing.from_state(state)
        plan = CompressionPlan.from_dict(state["plan"])
        groups = preprocessing.groups
        planned = tuple((category.name, category.num_features) for category in plan.categories)
        if planned != tuple(zip(groups.names, groups.sizes, strict=True)):
            raise CheckpointError(
                f"the plan in '{folder}' is for other categories than the preprocessing's "
                f"({', '.join(groups.names)}): use another checkpoint"
            )
        return config, preprocessing, plan, state

    return understood(folder, build)


def _complete_version_1(cleaner: dict[str, Any]) -> None:
    """What cleaning did not keep yet: how dropped columns come back."""
    if "restoration" not in cleaner and "indicators" not in cleaner:
        width, kept = len(cleaner["names"]), np.asarray(cleaner["kept"], dtype=np.int64)
        cleaner["restoration"] = ColumnRestoration.of_kept(width, kept).to_state()
        cleaner["indicators"] = MissingIndicators.none(width).to_state()


def read_weights(folder: Path, files: Mapping[str, bytes]) -> dict[str, Tensor]:
    """The model's ``state_dict``.

    Raises:
        CheckpointError: not readable, or not finite.
    """
    state = decode_tensors(files[MODEL], f"'{folder / MODEL}'")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"'{folder / MODEL}': '{name}' holds infinities or NaN, which training never "
                "writes; use another checkpoint"
            )
    return state


def read_state(folder: Path, files: Mapping[str, bytes], names: Sequence[str]) -> dict[str, Any]:
    """The nested state in a JSON file and its neighbour with the tensors.

    Raises:
        CheckpointError: not readable, or no state.
    """
    tree = decode_json(files[names[0]], f"'{folder / names[0]}'")
    tensors = decode_tensors(files[names[1]], f"'{folder / names[1]}'")
    state = understood(folder, lambda: restore_state(tree, tensors))
    if not isinstance(state, dict):
        raise CheckpointError(f"'{folder / names[0]}' holds no state; use another checkpoint")
    return state


def understood(folder: Path, read: Callable[[], _T]) -> _T:
    """Runs ``read``; contents that make no sense become one readable error."""
    try:
        return read()
    except CheckpointError:
        raise
    except SENSELESS as error:
        raise CheckpointError(
            f"the contents of the checkpoint '{folder}' do not fit together "
            f"({type(error).__name__}: {error}): it was changed after it was written; use another"
        ) from error
