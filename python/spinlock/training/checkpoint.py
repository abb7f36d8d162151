"""What a checkpoint folder holds, written from a trainer and read back for use or to resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spinlock.config.paths import expand_user
from spinlock.errors import CheckpointError
from spinlock.training.checkpoint_parts import (
    CONFIG,
    HISTORY,
    METRICS,
    MODEL,
    PREPROCESSING,
    SENSELESS,
    TOKENS,
    TRAINING_STATE,
    check_contract,
    described_files,
    measured_files,
    model_files,
    read_history,
    read_preprocessing,
    read_state,
    read_weights,
    understood,
)
from spinlock.training.folder import RunDirectory, position
from spinlock.training.manifest import MANIFEST, listed_files, read_files
from spinlock.training.metrics import EvaluationMetrics
from spinlock.training.model_folder import write_model_folder
from spinlock.training.prepared import Prepared, model_config
from spinlock.training.saved import SavedModel, SavedRun
from spinlock.training.state import (
    decode_json,
    encode_json,
    encode_tensors,
    flatten_state,
)
from spinlock.training.weights import check_size, load_weights
from spinlock.vqvae import build_vqvae
from spinlock.vqvae.contract import TokenContract

if TYPE_CHECKING:
    from spinlock.training.loop import Trainer

__all__ = [
    "SENSELESS",
    "CheckpointWriter",
    "SavedModel",
    "SavedRun",
    "find_checkpoint",
    "load_model",
    "read_run",
    "save_model",
]


class CheckpointWriter:
    """Writes a run's checkpoints and keeps the last ``keep`` of them.

    The files hold nothing that depends on the clock or the machine but ``seconds`` in the
    history.
    """

    def __init__(self, directory: RunDirectory, prepared: Prepared, keep: int) -> None:
        self.directory = directory
        self.keep = keep
        self._fingerprint = prepared.preprocessing.fingerprint
        self._constant = described_files(
            prepared.config,
            prepared.preprocessing,
            prepared.plan,
            prepared.data_fingerprint,
            {"training": len(prepared.train), "validation": len(prepared.validation)},
        )

    def save(self, trainer: Trainer, *, best: bool) -> Path:
        """Writes the trainer as it stands; ``latest``, and ``best`` where told, name it then.

        Raises:
            CheckpointError: it could not be written; earlier checkpoints are untouched.
        """
        progress = trainer.progress
        tree, tensors = flatten_state(trainer.state())
        files = {
            MODEL: encode_tensors(trainer.model.state_dict()),
            **self._constant,
            TRAINING_STATE[0]: encode_json(tree),
            TRAINING_STATE[1]: encode_tensors(tensors),
            **measured_files(progress.history, progress.metrics),
            TOKENS: encode_json(TokenContract.of(trainer.model, self._fingerprint).to_dict()),
        }
        path = self.directory.write(progress.checkpoint_name, files)
        self.directory.point("latest", progress.checkpoint_name)
        if best:
            self.directory.point("best", progress.checkpoint_name)
        self.directory.prune(self.keep)
        return path


def save_model(saved: SavedModel, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a trained model as a checkpoint folder of any name, without training state.

    :func:`load_model` and every command take it; ``--resume`` does not.

    Args:
        saved: the model.
        folder: is made; an empty one is taken.
        overwrite: replace a folder that holds such a checkpoint, and nothing else.

    Returns:
        ``folder``.

    Raises:
        CheckpointError: the folder holds something, or it cannot be written; what was there stays.
    """
    place = Path(expand_user(str(folder), "folder"))
    files = model_files(saved)
    return write_model_folder(place, files, overwrite=overwrite, state_files=TRAINING_STATE)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that ``path`` is, or that its ``latest`` names.

    Raises:
        CheckpointError: neither.
    """
    if (position(path.name) is not None and path.is_dir()) or (path / MANIFEST).is_file():
        return path
    # A folder of such a name is a checkpoint_dir; the pointers are files.
    if path.name in ("latest", "best") and not path.is_dir():
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
        ConfigError: an empty path.
    """
    folder = find_checkpoint(Path(expand_user(str(path), "path")))
    names = [MODEL, CONFIG, *PREPROCESSING, METRICS, HISTORY]
    files = read_files(folder, names, since_version_2=[TOKENS])
    config, preprocessing, plan, described = read_preprocessing(folder, files)
    metrics = decode_json(files[METRICS], f"'{folder / METRICS}'")
    state = read_weights(folder, files)

    def build() -> SavedModel:
        dimensions = model_config(config, plan)
        check_size(folder, dimensions, state)
        model = build_vqvae(dimensions)
        load_weights(folder, model, state)
        found = metrics["metrics"]
        fingerprint = described["data_fingerprint"]
        return SavedModel(
            path=folder,
            config=config,
            preprocessing=preprocessing,
            plan=plan,
            model=model.eval(),
            metrics=None if found is None else EvaluationMetrics.from_dict(found),
            history=read_history(folder, files),
            data_fingerprint=None if fingerprint is None else str(fingerprint),
            rows={name: int(count) for name, count in described["rows"].items()},
        )

    saved = understood(folder, build)
    check_contract(folder, files, saved)
    return saved


def read_run(path: str | Path) -> SavedRun:
    """Reads all of a checkpoint folder, or of the latest of a checkpoint_dir.

    Raises:
        CheckpointError: missing, damaged, foreign or of a newer format.
    """
    folder = find_checkpoint(Path(path))
    if not listed_files(folder).intersection(TRAINING_STATE):
        raise CheckpointError(
            f"'{folder}' holds a model without training state, as save_model writes it, and cannot "
            "be resumed: resume a checkpoint of the run itself, or start a new run"
        )
    names = [MODEL, CONFIG, *PREPROCESSING, *TRAINING_STATE, HISTORY]
    files = read_files(folder, names)
    config, preprocessing, plan, described = read_preprocessing(folder, files)
    trainer_state = read_state(folder, files, TRAINING_STATE)
    weights = read_weights(folder, files)
    understood(folder, lambda: check_size(folder, model_config(config, plan), weights))
    return SavedRun(
        path=folder,
        config=config,
        preprocessing=preprocessing,
        plan=plan,
        data_fingerprint=str(described["data_fingerprint"]),
        model_state=weights,
        trainer_state=trainer_state,
        history=read_history(folder, files),
    )
