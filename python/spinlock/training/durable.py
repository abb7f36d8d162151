"""Writing so that what was there before survives: beside its place, flushed, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".writing-"


def temporary_beside(path: Path, tag: str = "") -> Path:
    """A hidden name in the same folder, of this process."""
    return path.with_name(f"{TEMPORARY}{tag}{path.name}-{os.getpid()}")


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush_directory(path: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Makes ``folder``, which is new, with these files in it, and waits until they are on the disk.

    Raises:
        OSError: a full disk, for example; the folder is gone again then, as after Ctrl-C.
    """
    try:
        folder.mkdir(parents=True)
        for name, data in files.items():
            write_durably(folder / name, data)
        flush_directory(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; at the end it takes the place of ``path`` in one step.

    If anything is raised inside, what was written is removed and ``path`` is as it was.
    """
    with replaced_files([path]) as (temporary,):
        yield temporary


@contextmanager
def replaced_files(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """:func:`replaced_file` for several: none takes its place before all of them are written."""
    temporaries = [temporary_beside(path) for path in paths]
    try:
        yield temporaries
        for temporary in temporaries:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        for temporary, path in zip(temporaries, paths, strict=True):
            temporary.replace(path)
        for folder in {path.parent for path in paths}:
            flush_directory(folder)
    except BaseException:
        for temporary in temporaries:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        raise


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Makes ``folder`` and those above it that are missing.

    If anything is raised inside, those that were made and are still empty are removed.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):
            for place in missing:
                place.rmdir()
        raise
