"""Writing a checkpoint under any folder name, without losing what is there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from spinlock.errors import CheckpointError
from spinlock.training.durable import flush_directory, temporary_beside, write_folder
from spinlock.training.manifest import MANIFEST, listed_files, manifest_of


def write_model_folder(
    folder: Path, files: Mapping[str, bytes], *, overwrite: bool, state_files: tuple[str, ...]
) -> Path:
    """Writes a checkpoint folder, all of it or nothing; returns its path.

    An empty folder is taken as it is.  With ``overwrite`` an earlier checkpoint is replaced, unless
    it holds training state (``state_files``) or files that its manifest does not list.

    Raises:
        CheckpointError: the folder holds something else, or it cannot be written; what was there
            stays.
    """
    # Through a link: the folder that it names is meant.
    target = folder.resolve() if folder.is_symlink() else folder.absolute()
    replaces = _check_place(target, folder, overwrite=overwrite, state_files=state_files)
    temporary, before = temporary_beside(target), temporary_beside(target, "replaced-")
    placed = False
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        write_folder(temporary, {**files, MANIFEST: manifest_of(files)})
        if replaces:
            target.replace(before)
        try:
            temporary.replace(target)
        except BaseException:  # Ctrl-C as well: nothing would be there
            if replaces:
                before.replace(target)
            raise
        placed = True
        flush_directory(target.parent)
    except BaseException as error:
        shutil.rmtree(before if placed else temporary, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        left = "what was there is untouched"
        if placed:
            left = "it has taken its place, but the disk has not confirmed it"
        raise CheckpointError(
            f"could not write the checkpoint '{folder}' ({error.strerror}); {left}: free some "
            "space or choose another folder"
        ) from error
    shutil.rmtree(before, ignore_errors=True)
    return folder


def _check_place(
    target: Path, folder: Path, *, overwrite: bool, state_files: tuple[str, ...]
) -> bool:
    """Whether a checkpoint is replaced."""
    if not target.exists():
        return False
    if not target.is_dir():
        raise CheckpointError(
            f"'{folder}' is a file: choose another name for the checkpoint folder"
        )
    try:
        found = {entry.name for entry in target.iterdir()}
    except OSError as error:
        raise CheckpointError(f"cannot look into '{folder}' ({error.strerror})") from error
    if not found:
        return False
    if MANIFEST not in found:
        raise CheckpointError(
            f"'{folder}' holds other files and no checkpoint: choose a new or an empty folder"
        )
    listed = listed_files(target)
    if listed.intersection(state_files):
        raise CheckpointError(
            f"'{folder}' is a checkpoint of a run, with the state that resuming it needs: choose "
            "another folder"
        )
    if foreign := sorted(found - listed - {MANIFEST}):
        raise CheckpointError(
            f"'{folder}' holds {foreign[0]!r} beside a checkpoint, which would be lost: choose "
            "another folder"
        )
    if not overwrite:
        raise CheckpointError(
            f"'{folder}' holds a checkpoint already: choose another folder, or replace it with "
            "overwrite=True"
        )
    return True
