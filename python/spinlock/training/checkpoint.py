"""What a checkpoint folder holds, written from a trainer and read back for use or to resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from spinlock.analysis.plan import CompressionPlan
from spinlock.config import TrainConfig, dump_config, parse_config
from spinlock.errors import CheckpointError
from spinlock.training.callbacks import EpochRecord
from spinlock.training.folder import RunDirectory, position
from spinlock.training.manifest import read_files
from spinlock.training.metrics import EvaluationMetrics
from spinlock.training.prepared import Prepared, model_config
from spinlock.training.preprocessing import Preprocessing
from spinlock.training.progress import Progress
from spinlock.training.state import (
    decode_json,
    decode_tensors,
    encode_json,
    encode_tensors,
    flatten_state,
    restore_state,
)
from spinlock.vqvae import CategoricalHierarchicalVQVAE, build_vqvae

if TYPE_CHECKING:
    from spinlock.training.loop import Trainer

_MODEL = "model.safetensors"
_CONFIG = "config.yaml"
_PREPROCESSING = ("preprocessing.json", "preprocessing.safetensors")
_TRAINING_STATE = ("training_state.json", "training_state.safetensors")
_HISTORY = "history.json"
_METRICS = "metrics.json"

# What reading contents that make no sense can raise.
SENSELESS = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
)  # fmt: skip

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class SavedModel:
    """A trained model with all that stands between raw features and its tokens.

    Attributes:
        path: the checkpoint folder.
        config: the resolved configuration of the run.
        preprocessing: raw features to the model's input and back.
        plan: ratios, latent dims and codebook sizes per category.
        model: in evaluation mode, on the CPU.
        metrics: of the last epoch that was measured before the checkpoint, or None.
    """

    path: Path
    config: TrainConfig
    preprocessing: Preprocessing
    plan: CompressionPlan
    model: CategoricalHierarchicalVQVAE
    metrics: EvaluationMetrics | None


@dataclass(frozen=True, eq=False)
class SavedRun:
    """All of a checkpoint, as resuming needs it; see :class:`SavedModel` for the first three.

    Attributes:
        path, config, preprocessing, plan: as in :class:`SavedModel`.
        data_fingerprint: of the data set that the run was started on.
        model_state: the model's ``state_dict``, on the CPU.
        trainer_state: for :meth:`~spinlock.training.loop.Trainer.load_state`.
        history: one record per whole epoch.
    """

    path: Path
    config: TrainConfig
    preprocessing: Preprocessing
    plan: CompressionPlan
    data_fingerprint: str
    model_state: dict[str, Tensor]
    trainer_state: dict[str, Any]
    history: list[EpochRecord]


class CheckpointWriter:
    """Writes a run's checkpoints and keeps the last ``keep`` of them.

    The files hold nothing that depends on the clock or the machine but ``seconds`` in the
    history.
    """

    def __init__(self, directory: RunDirectory, prepared: Prepared, keep: int) -> None:
        self.directory = directory
        self.keep = keep
        tree, tensors = flatten_state(
            {
                **prepared.preprocessing.to_state(),
                "plan": prepared.plan.to_dict(),
                "data_fingerprint": prepared.data_fingerprint,
                "rows": {"training": len(prepared.train), "validation": len(prepared.validation)},
            }
        )
        self._constant = {
            _CONFIG: dump_config(prepared.config).encode("utf-8"),
            _PREPROCESSING[0]: encode_json(tree),
            _PREPROCESSING[1]: encode_tensors(tensors),
        }

    def save(self, trainer: Trainer, *, best: bool) -> Path:
        """Writes the trainer as it stands; ``latest``, and ``best`` where told, name it then.

        Raises:
            CheckpointError: it could not be written; earlier checkpoints are untouched.
        """
        progress = trainer.progress
        tree, tensors = flatten_state(trainer.state())
        files = {
            _MODEL: encode_tensors(trainer.model.state_dict()),
            **self._constant,
            _TRAINING_STATE[0]: encode_json(tree),
            _TRAINING_STATE[1]: encode_tensors(tensors),
            _HISTORY: encode_json([record.to_dict() for record in progress.history]),
            _METRICS: encode_json(_metrics_tree(progress, trainer.split)),
        }
        path = self.directory.write(progress.checkpoint_name, files)
        self.directory.point("latest", progress.checkpoint_name)
        if best:
            self.directory.point("best", progress.checkpoint_name)
        self.directory.prune(self.keep)
        return path


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that ``path`` is, or that its ``latest`` names.

    Raises:
        CheckpointError: neither.
    """
    if position(path.name) is not None and path.is_dir():
        return path
    if path.name in ("latest", "best"):
        directory, pointer = RunDirectory(path.parent), path.name
    else:
        directory, pointer = RunDirectory(path), "latest"
    target = directory.pointer(pointer)
    if target is None:
        if whole := directory.checkpoints():
            raise CheckpointError(
                f"'{directory.path}' has no file '{pointer}' that names a checkpoint: name one of "
                f"its folders, such as '{directory.path / whole[-1]}'"
            )
        raise CheckpointError(
            f"'{directory.path}' holds no checkpoint: expected a folder such as "
            f"<checkpoint_dir>/epoch_0100, or a checkpoint_dir with a file '{pointer}' that names "
            "one"
        )
    return directory.path / target


def load_model(path: str | Path) -> SavedModel:
    """Reads a trained model from a checkpoint folder or from the latest of a checkpoint_dir.

    Raises:
        CheckpointError: missing, damaged, foreign or of a newer format.
    """
    folder = find_checkpoint(Path(path))
    files = read_files(folder, [_MODEL, _CONFIG, *_PREPROCESSING, _METRICS])
    config, preprocessing, plan, _ = _read_preprocessing(folder, files)
    metrics = decode_json(files[_METRICS], f"'{folder / _METRICS}'")
    state = _read_weights(folder, files)

    def build() -> SavedModel:
        model = build_vqvae(model_config(config, plan))
        model.load_state_dict(state)
        found = metrics["metrics"]
        return SavedModel(
            path=folder,
            config=config,
            preprocessing=preprocessing,
            plan=plan,
            model=model.eval(),
            metrics=None if found is None else EvaluationMetrics.from_dict(found),
        )

    return _understood(folder, build)


def read_run(path: str | Path) -> SavedRun:
    """Reads all of a checkpoint folder, or of the latest of a checkpoint_dir.

    Raises:
        CheckpointError: missing, damaged, foreign or of a newer format.
    """
    folder = find_checkpoint(Path(path))
    names = [_MODEL, _CONFIG, *_PREPROCESSING, *_TRAINING_STATE, _HISTORY]
    files = read_files(folder, names)
    config, preprocessing, plan, fingerprint = _read_preprocessing(folder, files)
    history = decode_json(files[_HISTORY], f"'{folder / _HISTORY}'")
    trainer_state = _read_state(folder, files, _TRAINING_STATE)
    return SavedRun(
        path=folder,
        config=config,
        preprocessing=preprocessing,
        plan=plan,
        data_fingerprint=fingerprint,
        model_state=_read_weights(folder, files),
        trainer_state=trainer_state,
        history=_understood(folder, lambda: [EpochRecord.from_dict(entry) for entry in history]),
    )


def _metrics_tree(progress: Progress, split: str) -> dict[str, Any]:
    measured = [record.epoch for record in progress.history if record.validation is not None]
    return {
        "epoch": measured[-1] if measured else None,
        "split": split,
        "metrics": None if progress.metrics is None else progress.metrics.to_dict(),
    }


def _read_preprocessing(
    folder: Path, files: Mapping[str, bytes]
) -> tuple[TrainConfig, Preprocessing, CompressionPlan, str]:
    state = _read_state(folder, files, _PREPROCESSING)

    def build() -> tuple[TrainConfig, Preprocessing, CompressionPlan, str]:
        config = parse_config(files[_CONFIG], f"'{folder / _CONFIG}'")
        preprocessing = Preprocessing.from_state(state)
        plan = CompressionPlan.from_dict(state["plan"])
        groups = preprocessing.groups
        planned = tuple((category.name, category.num_features) for category in plan.categories)
        if planned != tuple(zip(groups.names, groups.sizes, strict=True)):
            raise CheckpointError(
                f"the plan in '{folder}' is for other categories than the preprocessing's "
                f"({', '.join(groups.names)}): use another checkpoint"
            )
        return config, preprocessing, plan, str(state["data_fingerprint"])

    return _understood(folder, build)


def _read_weights(folder: Path, files: Mapping[str, bytes]) -> dict[str, Tensor]:
    state = decode_tensors(files[_MODEL], f"'{folder / _MODEL}'")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"'{folder / _MODEL}': '{name}' holds infinities or NaN, which training never "
                "writes; use another checkpoint"
            )
    return state


def _read_state(folder: Path, files: Mapping[str, bytes], names: Sequence[str]) -> dict[str, Any]:
    tree = decode_json(files[names[0]], f"'{folder / names[0]}'")
    tensors = decode_tensors(files[names[1]], f"'{folder / names[1]}'")
    state = _understood(folder, lambda: restore_state(tree, tensors))
    if not isinstance(state, dict):
        raise CheckpointError(f"'{folder / names[0]}' holds no state; use another checkpoint")
    return state


def _understood(folder: Path, read: Callable[[], _T]) -> _T:
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
