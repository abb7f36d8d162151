"""What ``--output`` of encode and decode names: one file, or a folder of one file per file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from spinlock.errors import ConfigError

if TYPE_CHECKING:
    from spinlock.tokens.encoding import Written
    from spinlock.tokens.file_work import WrittenFiles


def names_folder(output: str) -> bool:
    """Whether an output is a folder: it is one already, or its name ends as one.

    >>> names_folder("tokens/"), names_folder("tokens.npz")
    (True, False)
    """
    separators = tuple(filter(None, (os.sep, os.altsep)))
    return output.endswith(separators) or Path(output).is_dir()


def require_folder(output: str, engine: str) -> None:
    """Refuses one file for an engine that shares work out by files.

    Raises:
        ConfigError: an unknown engine, or one file and another engine than this process.
    """
    from spinlock.engine import check_engine

    check_engine(engine)
    if engine != "local" and not names_folder(output):
        raise ConfigError(
            f"--engine {engine} writes one file for each file of the data: let --output "
            f"'{output}' name a folder, as in '{Path(output).with_suffix('')}/', or leave --engine "
            "out"
        )


def place_of(written: Written | WrittenFiles) -> Path:
    """The file, or the folder."""
    from spinlock.tokens.file_work import WrittenFiles

    return written.folder if isinstance(written, WrittenFiles) else written.path


def told_place(written: Written | WrittenFiles) -> str:
    """The file, or what is in the folder, in words."""
    from spinlock.tokens.file_work import WrittenFiles

    if not isinstance(written, WrittenFiles):
        return str(written.path)
    count = len(written.paths)
    kept = f", {written.kept:,} of them made before" if written.kept else ""
    return f"{count:,} {'file' if count == 1 else 'files'} in {written.folder}{kept}"


def files_of(written: Written | WrittenFiles) -> dict[str, object]:
    """For JSON: the files in a folder, and how many an earlier call had made."""
    from spinlock.tokens.file_work import WrittenFiles

    if not isinstance(written, WrittenFiles):
        return {}
    return {"files": [path.name for path in written.paths], "files_kept": written.kept}
