"""From a path to an open data set of the format that its extension says."""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from spinlock.data.builtin import PREFIX, open_builtin
from spinlock.data.selection import Selection
from spinlock.data.sources import Contents
from spinlock.errors import DataError

# Extension -> (module, function) that opens it; modules load on use, so that NPZ needs no h5py.
FORMATS = {
    ".npz": ("spinlock.data.npz", "open_npz"),
    ".npy": ("spinlock.data.npz", "open_npy"),
    ".h5": ("spinlock.data.hdf5", "open_hdf5"),
    ".hdf5": ("spinlock.data.hdf5", "open_hdf5"),
    ".parquet": ("spinlock.data.parquet", "open_parquet"),
    ".csv": ("spinlock.data.delimited", "open_delimited"),
    ".tsv": ("spinlock.data.delimited", "open_delimited"),
    ".csv.gz": ("spinlock.data.delimited", "open_delimited"),
    ".tsv.gz": ("spinlock.data.delimited", "open_delimited"),
}

# What a run on data in memory calls its data set.
MEMORY = "memory:"

Opener = Callable[[Path, Selection], AbstractContextManager[Contents]]


def extension_of(path: Path) -> str | None:
    """The known extension that a file name ends with; None where there is none.

    >>> extension_of(Path("a/b.CSV.gz")), extension_of(Path("b.txt"))
    ('.csv.gz', None)
    """
    name = path.name.lower()
    fitting = [extension for extension in FORMATS if name.endswith(extension)]
    return max(fitting, key=len, default=None)


def open_contents(dataset_path: str, selection: Selection) -> AbstractContextManager[Contents]:
    """One file or built-in set as ``Contents``.

    Raises:
        DataError: an unknown extension, no such file, or one that cannot be read.
    """
    if dataset_path.startswith(PREFIX):
        return open_builtin(dataset_path, selection)
    if dataset_path == MEMORY:
        raise DataError(
            f"dataset_path is '{MEMORY}': this run was fitted on data in memory, which no file "
            "holds. Name a data set (--input), or give the table in Python."
        )
    path = Path(dataset_path)
    extension = extension_of(path)
    if extension is None:
        raise DataError(
            f"dataset_path {dataset_path!r} has extension {path.suffix!r}; known: "
            f"{', '.join(FORMATS)}, and the built-in sets, '{PREFIX}<name>'. A table of another "
            "format becomes one by numpy.savez(path, features=..., feature_names=...)."
        )
    path = existing_file(path, dataset_path)
    module, function = FORMATS[extension]
    opener: Opener = getattr(importlib.import_module(module), function)
    return opener(path, selection)


def existing_file(path: Path, given: str) -> Path:
    """The path with ``~`` expanded, if it is a regular file.

    Raises:
        DataError: it is not.
    """
    try:
        path = path.expanduser()
        exists, regular = path.exists(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"dataset_path {given!r} cannot be opened: {error}.") from error
    if not exists:
        where = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        raise DataError(
            f"dataset_path {given!r}: there is no such file{where}. Correct the path; it may be a "
            "file, a pattern such as 'runs/*.parquet', a folder or 'builtin:<name>'."
        )
    if not regular:
        raise DataError(
            f"dataset_path {given!r} is not a regular file (a pipe or a device); expected one "
            "that can be read twice: copy it into a file first."
        )
    return path
