"""Report files: written whole or not at all, and never over what is no report."""

from __future__ import annotations

from pathlib import Path

from spinlock.errors import ConfigError, SpinlockError
from spinlock.training.durable import replaced_file

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


def write_whole(path: Path, data: bytes) -> None:
    """Writes beside and renames; what was there before stays if that fails.

    Raises:
        SpinlockError: the disk is full or the folder cannot be written to.
    """
    # Through a link: its target is replaced, not the link.
    try:
        with replaced_file(path.resolve()) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise SpinlockError(
            f"could not write '{path}' ({error.strerror}); what was there before is untouched: "
            "free some space or choose another place"
        ) from error
