"""A run's checkpoint directory: every change is atomic, so that a crash leaves a loadable latest.

A checkpoint is written into a hidden folder beside its place, flushed to disk and renamed; the
pointer files ``latest`` and ``best`` hold a folder's name and are replaced in one step, after the
folder is in place.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from spinlock.errors import CheckpointError
from spinlock.training.durable import (
    TEMPORARY,
    flush_directory,
    write_durably,
    write_folder,
)
from spinlock.training.manifest import MANIFEST, manifest_of
from spinlock.training.previous_run import POINTERS, move_run_aside
from spinlock.training.run_lock import LOCK, RunLock

_NAME = re.compile(r"epoch_(\d{4,9})(?:_step_(\d{6,12}))?")


def checkpoint_name(epoch: int, step_in_epoch: int = 0) -> str:
    """Folder name after ``epoch`` whole epochs and ``step_in_epoch`` steps of the next.

    >>> checkpoint_name(12), checkpoint_name(12, 345)
    ('epoch_0012', 'epoch_0012_step_000345')
    """
    name = f"epoch_{epoch:04d}"
    return name if step_in_epoch == 0 else f"{name}_step_{step_in_epoch:06d}"


def position(name: str) -> tuple[int, int] | None:
    """The (epoch, step) in a checkpoint's name; None where it is no such name.

    >>> position("epoch_0012"), position("epoch_0012_step_000345"), position("../epoch_0012")
    ((12, 0), (12, 345), None)
    """
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2] or 0)) if match else None


class RunDirectory:
    """The folder that holds a run's checkpoints and the pointers ``latest`` and ``best``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = RunLock()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes the directory and holds it for one run; a directory made in vain is removed.

        Raises:
            CheckpointError: it cannot be written to, or another run holds it.
        """
        existed = self.path.exists()
        self.create()
        try:
            self.lock.acquire(self.path)
            yield
        finally:
            self.lock.release()
            if not existed and self._is_empty():
                (self.path / LOCK).unlink(missing_ok=True)
                self.path.rmdir()

    def start_anew(self) -> Path:
        """Moves an earlier run aside, and holds a directory without one; where the old one is now.

        Raises:
            CheckpointError: as :meth:`move_aside` and :meth:`held`.
        """
        moved = self.move_aside()
        if not self.path.exists():  # else files of others have kept it, and it is still held
            self.create()
            self.lock.acquire(self.path)
            (moved / LOCK).unlink(missing_ok=True)
        return moved

    def create(self) -> None:
        """Makes the directory, and finds out now rather than after an epoch if it cannot.

        Raises:
            CheckpointError: it cannot be made or written to.
        """
        try:
            # Through a link whose target was moved aside as well.
            self.path.resolve().mkdir(parents=True, exist_ok=True)
            probe = self.path / f"{TEMPORARY}probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise CheckpointError(
                f"cannot write checkpoints to '{self.path}' ({error.strerror}): set "
                "training.checkpoint_dir (--output) to a folder that can be written"
            ) from error

    def checkpoints(self) -> list[str]:
        """Names of the complete checkpoints, oldest first."""
        if not self.path.is_dir():
            return []
        names = [p.name for p in self.path.iterdir() if position(p.name) and p.is_dir()]
        return sorted(names, key=lambda name: position(name) or (0, 0))

    def latest(self) -> Path | None:
        """The folder of the last checkpoint that is complete; None where there is none.

        Raises:
            CheckpointError: the pointer holds no checkpoint's name.
        """
        name = self.pointer("latest")
        return None if name is None else self.path / name

    def pointer(self, name: str) -> str | None:
        """The checkpoint that ``latest`` or ``best`` names; None where there is no such pointer.

        Raises:
            CheckpointError: the pointer holds no checkpoint's name.
        """
        path = self.path / name
        try:
            target = path.read_text(encoding="utf-8", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CheckpointError(f"cannot read the pointer '{path}': {error.strerror}") from error
        if position(target) is None:
            raise CheckpointError(
                f"the pointer '{path}' names no checkpoint ({target[:80]!r}): remove that file and "
                "name a checkpoint folder itself"
            )
        return target

    def write(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Writes a checkpoint folder, all of it or nothing; returns its path.

        Raises:
            CheckpointError: the disk is full or cannot be written; what was there stays.
        """
        temporary = self.path / f"{TEMPORARY}{name}-{os.getpid()}"
        target = self.path / name
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            write_folder(temporary, {**files, MANIFEST: manifest_of(files)})
            if target.exists():  # left by a crash before `latest` named it
                self._remove(name)
            temporary.replace(target)
            flush_directory(self.path)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(
                f"could not write the checkpoint '{target}' ({error.strerror}); earlier "
                "checkpoints are untouched: free some space or choose another "
                "training.checkpoint_dir, then resume"
            ) from error
        return target

    def point(self, pointer: str, name: str) -> None:
        """Makes ``latest`` or ``best`` name a checkpoint, in one step.

        Raises:
            CheckpointError: it could not be written; it names what it named before.
        """
        temporary = self.path / f"{TEMPORARY}{pointer}-{os.getpid()}"
        try:
            write_durably(temporary, f"{name}\n".encode())
            temporary.replace(self.path / pointer)
            flush_directory(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise CheckpointError(
                f"could not write '{self.path / pointer}' ({error.strerror}); the checkpoint "
                f"'{name}' itself is complete"
            ) from error

    def prune(self, keep: int) -> None:
        """Removes all but the last ``keep`` checkpoints; those pointed at always stay.

        Raises:
            CheckpointError: one cannot be removed.
        """
        kept = {*self.checkpoints()[-keep:], self.pointer("latest"), self.pointer("best")}
        with self._removing():
            for name in self.checkpoints():
                if name not in kept:
                    self._remove(name)

    def remove_unfinished(self) -> None:
        """Removes what a crash left: hidden folders, and checkpoints that ``latest`` never named.

        The order of writing is folder, ``latest``, ``best``: a folder after ``latest`` belongs to
        a crash between the first two, and the resumed run writes it again.

        Raises:
            CheckpointError: something cannot be removed.
        """
        latest = self.pointer("latest")
        with self._removing():
            self._remove_hidden()
            if latest is not None:
                for name in self.checkpoints():
                    if (position(name) or (0, 0)) > (position(latest) or (0, 0)):
                        self._remove(name)

    def clear(self) -> None:
        """Removes what is left of a run without checkpoints: hidden folders and pointers.

        Raises:
            CheckpointError: something cannot be removed.
        """
        with self._removing():
            self._remove_hidden()
            for pointer in POINTERS:
                (self.path / pointer).unlink(missing_ok=True)

    def move_aside(self) -> Path:
        """:func:`~spinlock.training.previous_run.move_run_aside` of this directory."""
        return move_run_aside(self)

    def _is_empty(self) -> bool:
        return self.path.is_dir() and {entry.name for entry in self.path.iterdir()} <= {LOCK}

    @contextmanager
    def _removing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointError(
                f"cannot remove '{error.filename}' in '{self.path}' ({error.strerror}); the "
                "checkpoint that `latest` names is intact: remove the other one yourself, then "
                "resume"
            ) from error

    def _remove_hidden(self) -> None:
        for entry in self.path.glob(f"{TEMPORARY}*"):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def _remove(self, name: str) -> None:
        # The rename makes the removal atomic: no half-deleted folder keeps a checkpoint's name.
        doomed = self.path / f"{TEMPORARY}removed-{name}-{os.getpid()}"
        (self.path / name).replace(doomed)
        shutil.rmtree(doomed)
