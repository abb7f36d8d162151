"""Report files: written whole or not at all, and never over what is no report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spinlock.errors import ConfigError, SpinlockError
from spinlock.training.durable import replaced_files

# Every file of a report carries it near its start: page, SVG and PNG.
MARK = "spinlock diagnose"
_LOOK = 4_096


def check_replaceable(path: Path, *, overwrite: bool) -> None:
    """Find out before the work whether a report may be written to ``path``.

    Raises:
        ConfigError: a folder, in no folder, or a file that is no report without ``overwrite``.
        OSError: what is there cannot be read.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"'{path}': the folder '{path.parent}' does not exist; make it first")
    if path.is_dir():
        raise ConfigError(f"'{path}' is a folder; name a file in it")
    if path.exists() and not overwrite:
        if path.is_file():
            with path.open("rb") as file:
                if MARK.encode("ascii") in file.read(_LOOK):
                    return
        raise ConfigError(
            f"'{path}' exists and is no report of spinlock: choose another name, or replace it "
            "with --overwrite"
        )


def write_whole(contents: Mapping[Path, bytes]) -> None:
    """Writes all beside their places, then renames; what was there before stays if that fails.

    Raises:
        SpinlockError: the disk is full or the folder cannot be written to.
    """
    path = Path()
    try:
        # Through links: their targets are replaced, not the links.
        with replaced_files([path.resolve() for path in contents]) as temporaries:
            for path, temporary in zip(contents, temporaries, strict=True):
                temporary.write_bytes(contents[path])
    except OSError as error:
        raise SpinlockError(
            f"could not write '{path}' ({error.strerror}); no half-written file is left: "
            "free some space or choose another place"
        ) from error
