"""Which files an export writes; all of them replace what was there, or none does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spinlock.errors import CheckpointError, ConfigError
from spinlock.training.durable import made_folder, replaced_files

if TYPE_CHECKING:
    from spinlock.training.saved import SavedModel

PROGRAMS = ("encoder", "decoder")
_SUFFIXES = (".pt2", ".safetensors", ".npz")


def check_export(output: Path, part: str | None, *, overwrite: bool = False) -> None:
    """Finds out before the work what cannot be written.

    Raises:
        ConfigError: another ending, a part that does not exist, none where one is needed, or a
            file that is there and may not be replaced.
    """
    suffix = output.suffix
    if suffix == ".pt2" and part not in PROGRAMS:
        got = "none was given" if part is None else f"got {part!r}"
        raise ConfigError(
            f"--part: a .pt2 file holds one program, encoder or decoder; {got}. Give one of them, "
            "or a folder as --output for both"
        )
    if suffix != ".pt2" and part is not None:
        raise ConfigError(f"--part is for .pt2 files, and --output is '{output}': leave it out")
    if suffix and suffix not in _SUFFIXES and not output.is_dir():
        raise ConfigError(
            f"--output: expected a folder or a file that ends in {', '.join(_SUFFIXES)}, got "
            f"'{output}'"
        )
    if output.exists() and output.is_dir() != (suffix not in _SUFFIXES):
        what = "a folder" if output.is_dir() else "no folder"
        raise ConfigError(f"--output: '{output}' is {what}; give another name")
    there = [path for path in _makers(output, part) if path.exists()]
    if there and not overwrite:
        raise ConfigError(
            f"--output: '{there[0]}' is there already: give another name, or --overwrite"
        )


def write_export(
    saved: SavedModel,
    output: Path,
    part: str | None = None,
    *,
    overwrite: bool = False,
    on_file: Callable[[str], None] | None = None,
) -> list[Path]:
    """Writes a folder of everything, or one file, by the ending of ``output``.

    Args:
        saved: the trained model.
        output: ``<name>.pt2``, ``.safetensors``, ``.npz``, or a folder, which gets
            ``encoder.pt2``, ``decoder.pt2``, ``codebooks.safetensors`` and ``contract.json``.
        part: ``encoder`` or ``decoder``, for a ``.pt2`` file.
        overwrite: replace files that are there.
        on_file: is told the name of each file before it is made.

    Returns:
        The files.

    Raises:
        ConfigError: as :func:`check_export`.
        CheckpointError: a program that does not give the codec's results, or files that cannot be
            written; what was there before stays.
    """
    check_export(output, part, overwrite=overwrite)
    from spinlock.tokens import export

    contents: dict[Path, bytes] = {}
    for path, maker in _makers(output, part).items():
        if on_file is not None:
            on_file(path.name)
        contents[path] = getattr(export, maker)(saved)
    _write(contents)
    return list(contents)


def _makers(output: Path, part: str | None) -> dict[Path, str]:
    """Each file to write, and the function in ``tokens.export`` that makes it."""
    if output.suffix in _SUFFIXES:
        single = {".safetensors": "codebooks_safetensors", ".npz": "codebooks_npz"}
        return {output: single.get(output.suffix, f"export_{part}")}
    return {
        output / "encoder.pt2": "export_encoder",
        output / "decoder.pt2": "export_decoder",
        output / "codebooks.safetensors": "codebooks_safetensors",
        output / "contract.json": "contract_json",
    }


def _write(contents: Mapping[Path, bytes]) -> None:
    path = next(iter(contents))
    try:
        with made_folder(path.parent), replaced_files(list(contents)) as temporaries:
            for path, temporary in zip(contents, temporaries, strict=True):
                temporary.write_bytes(contents[path])
    except OSError as error:
        raise CheckpointError(
            f"could not write '{path}' ({error.strerror}); no half-written file is left: "
            "free some space or choose another --output"
        ) from error
