"""Several files as one data set, row after row; opened one at a time, however many there are."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.builtin import PREFIX
from spinlock.data.columns import match_columns
from spinlock.data.dataset import (
    DatasetPath,
    FileDataset,
    Unchanged,
    Wanted,
    open_file,
)
from spinlock.data.encoded import Block
from spinlock.data.opening import FORMATS, MEMORY, extension_of
from spinlock.data.parts import BLOCK_ROWS, FileRows, RowPart, file_parts
from spinlock.data.table import listed
from spinlock.errors import DataError

_GLOB = re.compile(r"[*?\[]")


def expand(dataset_path: DatasetPath) -> list[str]:
    """The files that a path, a glob, a directory or a list of these stands for.

    What a glob or a directory offers is sorted by name, numbers by their value (``part-2`` before
    ``part-10``); a list keeps its own order.

    Raises:
        DataError: nothing is found, or a directory holds files of several formats.
    """
    if isinstance(dataset_path, str | os.PathLike):
        return _expand_one(os.fspath(dataset_path))
    paths = [path for entry in dataset_path for path in _expand_one(os.fspath(entry))]
    if not paths:
        raise DataError("dataset_path is an empty list; expected at least one file.")
    if len(paths) > 1:
        internal = [p for p in paths if p.startswith(PREFIX) or p == MEMORY]
        if internal:
            raise DataError(
                f"dataset_path lists {listed(internal)} among several; a built-in set stands alone."
            )
        twice = (
            sorted({path for path in paths if paths.count(path) > 1})
            if len(set(paths)) < len(paths)
            else []
        )
        if twice:
            raise DataError(f"dataset_path names files more than once: {listed(twice)}.")
    return paths


def _expand_one(path: str) -> list[str]:
    if path.startswith(PREFIX) or path == MEMORY:
        return [path]
    try:
        here = Path(path).expanduser()
        folder = here.is_dir()
        # A file whose own name holds a bracket is that file.
        pattern = not here.exists() and bool(_GLOB.search(path))
        found = glob.glob(str(here), recursive=True) if pattern else []  # noqa: PTH207  any root
        found = [name for name in found if Path(name).is_file()]
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"dataset_path {path!r} cannot be opened: {error}.") from error
    if folder:
        return _files_in(here, path)
    if not pattern:
        return [path]
    if not found:
        where = "" if here.is_absolute() else f" (looked in {Path.cwd()})"
        raise DataError(f"dataset_path {path!r}: no file matches this pattern{where}.")
    return sorted(found, key=_natural)


def _files_in(folder: Path, given: str) -> list[str]:
    found: dict[str, list[str]] = {}
    for entry in folder.iterdir():
        # Hidden files and those that begin with _ are what writers leave beside the data.
        if entry.is_file() and not entry.name.startswith((".", "_")):
            extension = extension_of(entry)
            if extension is not None:
                found.setdefault(extension, []).append(str(entry))
    if len(found) != 1:
        counts = ", ".join(f"{len(files)} {extension}" for extension, files in found.items())
        raise DataError(
            f"dataset_path {given!r} is a folder with {counts or 'no data files'}; expected files "
            f"of one format ({', '.join(FORMATS)}). Name a file, or a pattern such as '*.parquet'."
        )
    return sorted(next(iter(found.values())), key=_natural)


def _natural(path: str) -> list[tuple[int, int, str]]:
    """Sort key in which numbers inside a name count by their value.

    >>> sorted(["p10", "p9", "a"], key=_natural)
    ['a', 'p9', 'p10']
    """
    pieces = re.split(r"([0-9]+)", path)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in pieces]


@dataclass(frozen=True, eq=False)
class Shard:
    """One file of several.

    Attributes:
        file: the file as it was when its header was read.
        rows: its rows.
        order: where the columns of the data set lie among its own; None: in the same order.
        whole: its rows, for other processes.
        bounds: rows at which it can be cut.
    """

    file: Unchanged
    rows: int
    order: NDArray[np.int64] | None
    whole: FileRows
    bounds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ShardedDataset:
    """Several files as one ``Dataset``; columns as in the first."""

    where: str
    names: tuple[str, ...]
    families: tuple[str, ...]
    shards: tuple[Shard, ...]
    wanted: Wanted

    @property
    def num_rows(self) -> int:
        """N, of all files together."""
        return sum(shard.rows for shard in self.shards)

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        """Blocks of at most ``rows`` rows; none reaches over the end of a file."""
        for shard in self.shards:
            for dataset in self._reopened(shard):
                for block in dataset.blocks(rows):
                    yield block if shard.order is None else block[:, shard.order]

    def parts(self, rows: int | None = None) -> Sequence[RowPart]:
        """Files, ranges of large files, and small files together."""
        return file_parts([(s.whole, s.bounds) for s in self.shards], self.wanted, rows)

    def labels(self) -> NDArray[Any] | None:
        """The labels of all files, in their order; None if no file has any."""
        parts: list[NDArray[Any]] = []
        without: list[str] = []
        for shard in self.shards:
            for dataset in self._reopened(shard):
                labels = dataset.labels()
                if labels is None:
                    without.append(dataset.where)
                else:
                    parts.append(labels)
        if not parts:
            return None
        text = [part.dtype.kind in "US" for part in parts]
        if without or len(set(text)) > 1:
            problem = (
                f"{listed(without)} of them have none" if without else "some are text, some not"
            )
            raise DataError(f"the files of {self.where} do not agree about labels: {problem}.")
        return np.concatenate(parts)

    def _reopened(self, shard: Shard) -> Iterator[FileDataset]:
        shard.file.check()
        with open_file(str(shard.file.path), self.wanted) as dataset:
            yield dataset
        shard.file.check()


def open_shards(paths: Sequence[str], wanted: Wanted) -> ShardedDataset:
    """Reads the header of every file; columns are matched to the first file's by name.

    Raises:
        DataError: a file cannot be read, or has other columns.
    """
    names: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    shards: list[Shard] = []
    for path in paths:
        with open_file(path, wanted) as dataset:
            if not shards:
                names, owners = dataset.names, dataset.families
            order = None
            if dataset.names != names:
                order = match_columns(names, dataset.names, f"{path}, read with {paths[0]},")
            assert dataset.file is not None, "several files are files"
            whole, bounds = dataset.whole(order), tuple(dataset.bounds())
            shards.append(Shard(dataset.file, dataset.num_rows, order, whole, bounds))
    where = f"{len(paths)} files ({paths[0]} to {paths[-1]})"
    return ShardedDataset(where, names, owners, tuple(shards), wanted)
