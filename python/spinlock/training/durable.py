"""Writing so that what was there before survives: beside its place, flushed, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
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
        OSError: a full disk, for example; the folder is gone again then.
    """
    try:
        folder.mkdir(parents=True)
        for name, data in files.items():
            write_durably(folder / name, data)
        flush_directory(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; at the end it takes the place of ``path`` in one step.

    If anything is raised inside, what was written is removed and ``path`` is as it was.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        flush_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
