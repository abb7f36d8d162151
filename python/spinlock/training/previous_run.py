"""An earlier run out of the way of a new one in its directory; what is not a run's stays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from spinlock.errors import CheckpointError
from spinlock.training.durable import TEMPORARY
from spinlock.training.run_lock import LOCK

if TYPE_CHECKING:
    from spinlock.training.folder import RunDirectory

POINTERS = ("latest", "best")


def foreign_entries(run: RunDirectory) -> list[str]:
    """What is in the directory and was not written by a run: a data set, a log, notes."""
    own = {*run.checkpoints(), LOCK}
    return sorted(
        entry.name
        for entry in run.path.iterdir()
        if entry.name not in own
        and not entry.name.startswith(TEMPORARY)
        and not (entry.name in POINTERS and entry.is_file())
    )


def move_run_aside(run: RunDirectory) -> Path:
    """Moves the run in a directory to the first free ``<name>.previous-<n>``; returns that path.

    A directory that holds nothing else is renamed.  One that holds other files stays where it is,
    with them, and only checkpoints and pointers move.

    Raises:
        CheckpointError: it is the current directory, or it cannot be moved.
    """
    if Path.cwd().is_relative_to(run.path.resolve()):
        raise CheckpointError(
            f"'{run.path}' holds the checkpoints of another run and cannot be moved aside "
            "from within: choose another training.checkpoint_dir (--output)"
        )
    # A link goes on pointing to the disk that was chosen for checkpoints.
    source = run.path.resolve() if run.path.is_symlink() else run.path
    number = 1
    while (target := source.with_name(f"{source.name}.previous-{number}")).exists():
        number += 1
    try:
        if foreign_entries(run):
            _move_own(run, source, target)
        else:
            source.rename(target)
    except OSError as error:
        raise CheckpointError(
            f"'{run.path}' holds the checkpoints of another run, and they cannot be moved to "
            f"'{target}' ({error.strerror}): choose another training.checkpoint_dir (--output)"
        ) from error
    return target


def _move_own(run: RunDirectory, source: Path, target: Path) -> None:
    pointers = [name for name in POINTERS if (source / name).is_file()]
    target.mkdir()
    for name in pointers:
        shutil.copy(source / name, target / name)
    # Those pointed at move last: a crash before leaves both directories with whole checkpoints.
    named = {(source / name).read_text(errors="replace").strip() for name in pointers}
    for name in sorted(run.checkpoints(), key=lambda name: name in named):
        (source / name).rename(target / name)
    for name in pointers:
        (source / name).unlink()
