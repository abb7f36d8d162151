"""``open_dataset``: any data set as rows that are read in blocks, none of it held in memory."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spinlock.data.builtin import PREFIX
from spinlock.data.encoded import Block, encoded_blocks, row_bounds
from spinlock.data.families import FamilyEntry, Part, plan_parts
from spinlock.data.opening import MEMORY, open_contents
from spinlock.data.parts import (
    BLOCK_ROWS,
    FileRows,
    OpenPart,
    RowPart,
    file_parts,
    part_rows,
)
from spinlock.data.selection import Selection
from spinlock.data.sources import Contents
from spinlock.errors import DataError

DatasetPath = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Dataset(Protocol):
    """An open data set whose rows are read in blocks.

    Attributes:
        where: how messages call it.
        names: D column names, ``family::name``.
        families: the family of each column.
        num_rows: N.
    """

    @property
    def where(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def families(self) -> tuple[str, ...]: ...
    @property
    def num_rows(self) -> int: ...

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        """All rows in order, float32 [n, D] with n <= ``rows``; each call starts anew.

        Raises:
            DataError: a file changed, shrank or cannot be read any further.
        """
        ...

    def parts(self, rows: int | None = None) -> Sequence[RowPart]:
        """The rows in order, cut as the files allow into parts of at most ``rows`` rows.

        They can be pickled, to be read by other processes; None leaves the size to the data.
        """
        ...

    def labels(self) -> NDArray[Any] | None:
        """[N] numbers or text, read whole; None if there are none."""
        ...


@dataclass(frozen=True, eq=False)
class FileDataset:
    """One open file, or a built-in set, as a ``Dataset``."""

    path: str
    wanted: "Wanted"
    contents: Contents
    columns: tuple[Part, ...]
    file: "Unchanged | None"

    @property
    def where(self) -> str:
        """The path."""
        return self.contents.where

    @property
    def names(self) -> tuple[str, ...]:
        """D column names."""
        return tuple(name for part in self.columns for name in part.names)

    @property
    def families(self) -> tuple[str, ...]:
        """The family of each column."""
        return tuple(part.family for part in self.columns for _ in part.names)

    @property
    def num_rows(self) -> int:
        """N."""
        return self.columns[0].source.array.shape[0]

    def blocks(
        self, rows: int = BLOCK_ROWS, between: tuple[int, int] | None = None
    ) -> Iterator[Block]:
        """Blocks of at most ``rows`` rows, of all rows or of those between two ``bounds``."""
        if rows < 1:
            raise DataError(f"a block needs at least 1 row, got rows={rows}.")
        if self.file is not None:
            self.file.check()
        yield from encoded_blocks(self.columns, rows, between)
        if self.file is not None:
            self.file.check()

    def bounds(self, step: int | None = None) -> list[int]:
        """Rows at which the file can be cut, 0 and N among them, about ``step`` apart."""
        return row_bounds(self.columns, part_rows(0) if step is None else step)

    def whole(self, order: NDArray[np.int64] | None = None) -> FileRows:
        """All of its rows, for other processes; the path is absolute."""
        if self.file is None:
            return FileRows(self.path, None, order, 0, self.num_rows)
        file = replace(self.file, path=self.file.path.absolute())
        return FileRows(str(file.path), file, order, 0, self.num_rows)

    def parts(self, rows: int | None = None) -> Sequence[RowPart]:
        """Ranges of rows; the open file is read where a part stays in this process."""
        found = file_parts([(self.whole(), self.bounds(rows))], self.wanted, rows)
        return [OpenPart(self, part) for part in found]

    def labels(self) -> NDArray[Any] | None:
        """The labels, one per row."""
        labels = self.contents.labels()
        if labels is not None and labels.shape != (self.num_rows,):
            raise DataError(
                f"the labels of {self.where} have shape {list(labels.shape)}; expected one per "
                f"row, [{self.num_rows}]."
            )
        return labels


@dataclass(frozen=True)
class Unchanged:
    """A file as it was when it was opened."""

    path: Path
    state: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path) -> "Unchanged":
        """The file as it is now."""
        return cls(path, _state(path))

    def check(self) -> None:
        """Refuse to mix what a file holds now with what it held.

        Raises:
            DataError: it was written to, replaced or removed since.
        """
        if _state(self.path) != self.state:
            raise DataError(
                f"{self.path} changed while it was read: its size or time of change is another "
                "than when it was opened. Read it again when nobody writes to it."
            )


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path} vanished while it was read ({error.strerror}).") from error
    return found.st_size, found.st_mtime_ns, found.st_ino


@dataclass(frozen=True)
class Wanted:
    """What is asked of each file; see :func:`open_dataset`."""

    families: Mapping[str, FamilyEntry] | None
    exclude_columns: Sequence[str]
    label_column: str | None
    required: bool

    def selection(self) -> Selection:
        """A fresh selection for one file.

        Raises:
            DataError: names that are empty or no list.
        """
        return Selection.of(self.exclude_columns, self.label_column, required=self.required)


@contextmanager
def open_dataset(
    dataset_path: DatasetPath,
    families: Mapping[str, FamilyEntry] | None = None,
    *,
    exclude_columns: Sequence[str] = (),
    label_column: str | None = None,
    required: bool = True,
) -> Iterator[Dataset]:
    """Open a data set for reading in blocks; docs/formats.md describes the formats.

    Args:
        dataset_path: a file, ``builtin:<name>``, a glob, a directory of files of one format, or a
            list of paths; several files are one data set, row after row.
        families: the families to load, in this order; None: all that the data set has.
        exclude_columns: names or globs of columns to leave out.
        label_column: the column or array that holds the labels; None: ``labels``, if there is one.
        required: columns named by ``exclude_columns`` and ``label_column`` must be there.

    Raises:
        DataError: anything about the data set that cannot be used, in one readable message.

    >>> with open_dataset("builtin:digits", {"pixels": None}) as dataset:
    ...     dataset.num_rows, len(dataset.names), next(dataset.blocks(rows=10)).shape
    (1797, 64, (10, 64))
    """
    from spinlock.data.shards import expand, open_shards

    paths = expand(dataset_path)
    wanted = Wanted(families, exclude_columns, label_column, required)
    wanted.selection()
    if len(paths) > 1:
        yield open_shards(paths, wanted)
        return
    with open_file(paths[0], wanted) as dataset:
        yield dataset


@contextmanager
def open_file(path: str, wanted: Wanted) -> Iterator[FileDataset]:
    """One file, or built-in set, as a ``Dataset``; see :func:`open_dataset`."""
    selection = wanted.selection()
    with open_contents(path, selection) as contents:
        parts = tuple(plan_parts(contents, wanted.families, selection))
        in_file = not path.startswith(PREFIX) and path != MEMORY
        file = Unchanged.of(Path(path).expanduser()) if in_file else None
        yield FileDataset(path, wanted, contents, parts, file)
