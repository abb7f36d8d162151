"""The list of a checkpoint's files and their digests: what makes a folder a checkpoint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spinlock import __version__
from spinlock.data.sources import physical_memory
from spinlock.errors import CheckpointError
from spinlock.training.state import decode_json, encode_json

FORMAT = "spinlock-checkpoint"
FORMAT_VERSION = 2
# Version 1 lacks the token contract, which is computed where it is missing.
_READABLE = (1, 2)
MANIFEST = "manifest.json"
# A name in the checkpoint's own folder, and a SHA-256.
_NAME, _SHA256 = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,100}"), re.compile(r"[0-9a-f]{64}")


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The manifest of a folder that holds ``files``."""
    return encode_json(
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "spinlock_version": __version__,
            "sha256": {name: _digest(data) for name, data in files.items()},
        }
    )


def listed_files(folder: Path) -> set[str]:
    """Names of the files that a checkpoint's manifest lists, itself left out.

    Raises:
        CheckpointError: the folder is missing, foreign or of a newer format.
    """
    return set(_read_manifest(folder)["sha256"])


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file that a checkpoint's manifest lists, and of the manifest.

    Raises:
        CheckpointError: as :func:`listed_files`, or a file is missing.
    """
    sizes = {}
    for name in [*sorted(listed_files(folder)), MANIFEST]:
        try:
            sizes[name] = (folder / name).stat().st_size
        except OSError as error:
            raise _lacks(folder, name) from error
    return sizes


def read_files(
    folder: Path, names: Sequence[str], *, since_version_2: Sequence[str] = ()
) -> dict[str, bytes]:
    """Files of a checkpoint, checked against its manifest.

    Args:
        folder: the checkpoint.
        names: files that every checkpoint has.
        since_version_2: files that checkpoints of format version 1 lack.

    Raises:
        CheckpointError: the folder is missing, foreign, of a newer format, incomplete or damaged.
    """
    manifest = _read_manifest(folder)
    if manifest["format_version"] >= 2:
        names = [*names, *since_version_2]
    files = {}
    for name in names:
        expected = manifest["sha256"].get(name)
        data = _read(folder / name)
        if expected is None or data is None:
            raise _lacks(folder, name)
        if expected != _digest(data):
            raise CheckpointError(
                f"'{folder / name}' is damaged: {len(data)} bytes that do not match the "
                "checkpoint's manifest; use another checkpoint"
            )
        files[name] = data
    return files


def _lacks(folder: Path, name: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint '{folder}' lacks '{name}': it is incomplete; use another one"
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    data = _read(folder / MANIFEST)
    if data is None:
        what = "is no checkpoint of spinlock" if folder.is_dir() else "does not exist"
        raise CheckpointError(
            f"the checkpoint '{folder}' {what}: expected a folder with '{MANIFEST}', such as "
            "<checkpoint_dir>/epoch_0100"
        )
    manifest = decode_json(data, f"'{folder / MANIFEST}'")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"'{folder / MANIFEST}' is not from spinlock: wrong 'format'")
    version = manifest.get("format_version")
    if type(version) is not int or version not in _READABLE:
        raise CheckpointError(
            f"the checkpoint '{folder}' has format version {version!r:.100}; this spinlock reads "
            f"version {FORMAT_VERSION} and older: install the version that wrote it"
        )
    digests, written_by = manifest.get("sha256"), manifest.get("spinlock_version")
    if not isinstance(digests, dict) or not all(
        _NAME.fullmatch(name) and isinstance(digest, str) and _SHA256.fullmatch(digest)
        for name, digest in digests.items()
    ):
        raise CheckpointError(
            f"'{folder / MANIFEST}' is damaged: expected names of files in the folder, each with "
            "its SHA-256; use another checkpoint"
        )
    if not isinstance(written_by, str) or not written_by.isprintable():
        raise CheckpointError(
            f"'{folder / MANIFEST}' is damaged: expected the version of spinlock that wrote it, "
            f"got {written_by!r:.100}; use another checkpoint"
        )
    return manifest


def _read(path: Path) -> bytes | None:
    try:
        # A pipe or a device would never end.
        if not path.is_file():
            return None
        size, available = path.stat().st_size, physical_memory()
        if available is not None and size > available:
            raise CheckpointError(
                f"'{path}' takes {size / 2**30:,.1f} GiB, this machine's memory is "
                f"{available / 2**30:,.1f} GiB: use a machine with more, or another checkpoint"
            )
        return path.read_bytes()
    except FileNotFoundError:  # gone since
        return None
    except OSError as error:
        raise CheckpointError(f"cannot read '{path}' ({error.strerror})") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
