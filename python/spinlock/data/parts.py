"""A data set cut into parts that are read one by one, anywhere: the cuts depend on the data alone.

Every pass over a data set works part by part and puts the results together in the order of the
parts.  What comes out is therefore the same to the last bit, whoever reads which part and when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spinlock.data.encoded import Block

if TYPE_CHECKING:
    from spinlock.data.dataset import FileDataset, Unchanged, Wanted

BLOCK_ROWS = 65_536
# A part is long enough that reading it takes far longer than sending its statistics ...
PART_ROWS = 1 << 18
# ... and there are never so many that putting their statistics together takes long.
MOST_PARTS = 2048

Numbers = NDArray[np.int64]


class RowPart(Protocol):
    """Consecutive rows of a data set; can be pickled and read in another process.

    Attributes:
        first_row: the number of the first of them in the data set.
        num_rows: how many.
    """

    @property
    def first_row(self) -> int: ...
    @property
    def num_rows(self) -> int: ...

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        """The rows in order, float32 [n, D] with n <= ``rows``; each call starts anew.

        Raises:
            DataError: a file changed or cannot be read.
        """
        ...


@dataclass(frozen=True, eq=False)
class FileRows:
    """Rows ``start .. stop - 1`` of one file.

    Attributes:
        path: absolute, or ``builtin:<name>``.
        file: the file as it was when its header was read; None for built-in sets.
        order: where the columns of the data set lie among its own; None: in the same order.
    """

    path: str
    file: Unchanged | None
    order: Numbers | None
    start: int
    stop: int

    def until(self, stop: int) -> FileRows:
        """The same from the same start, up to another end."""
        return FileRows(self.path, self.file, self.order, self.start, stop)


@dataclass(frozen=True, eq=False)
class FilePart:
    """A ``RowPart`` of rows in files, which are opened when it is read."""

    first_row: int
    files: tuple[FileRows, ...]
    wanted: Wanted

    @property
    def num_rows(self) -> int:
        """How many rows."""
        return sum(rows.stop - rows.start for rows in self.files)

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        """Blocks; none reaches over the end of a file."""
        from spinlock.data.dataset import open_file

        for piece in self.files:
            if piece.file is not None:
                piece.file.check()
            with open_file(piece.path, self.wanted) as dataset:
                for block in dataset.blocks(rows, (piece.start, piece.stop)):
                    yield block if piece.order is None else block[:, piece.order]


class OpenPart:
    """A ``RowPart`` of an open file; pickled, it becomes one that opens the file itself."""

    def __init__(self, dataset: FileDataset, part: FilePart) -> None:
        self._dataset = dataset
        self._part = part

    @property
    def first_row(self) -> int:
        """The number of the first row."""
        return self._part.first_row

    @property
    def num_rows(self) -> int:
        """How many rows."""
        return self._part.num_rows

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        """Blocks of the open file."""
        for piece in self._part.files:
            yield from self._dataset.blocks(rows, (piece.start, piece.stop))

    def __reduce__(self) -> tuple[Callable[..., FilePart], tuple[Any, ...]]:
        return FilePart, (self._part.first_row, self._part.files, self._part.wanted)


@dataclass(frozen=True, eq=False)
class ArrayPart:
    """A ``RowPart`` of rows in memory, [n, D]."""

    first_row: int
    features: Block

    @property
    def num_rows(self) -> int:
        """n."""
        return len(self.features)

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        """Views of the rows."""
        for start in range(0, len(self.features), rows):
            yield self.features[start : start + rows]


@dataclass(frozen=True, eq=False)
class SomeRows:
    """A part without some of its rows, or with some of them only.

    Attributes:
        part: all of the rows.
        first_row: the number of the first row that stays, among the rows of the data set that stay.
        numbers: of rows within the part, ascending.
        left_out: these are the rows that go; else they are the ones that stay.

    >>> part = ArrayPart(first_row=4, features=np.arange(3, dtype=np.float32)[:, None])
    >>> some = SomeRows(part, first_row=2, numbers=np.array([1]), left_out=True)
    >>> some.num_rows, next(some.blocks()).tolist()
    (2, [[0.0], [2.0]])
    """

    part: RowPart
    first_row: int
    numbers: Numbers
    left_out: bool

    @property
    def num_rows(self) -> int:
        """How many stay."""
        return self.part.num_rows - len(self.numbers) if self.left_out else len(self.numbers)

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[Block]:
        """What stays of the part's blocks."""
        start = 0
        for block in self.part.blocks(rows):
            low, high = np.searchsorted(self.numbers, (start, start + len(block)))
            inside = self.numbers[low:high] - start
            start += len(block)
            if not self.left_out:
                yield block[inside]
            else:
                yield block if len(inside) == 0 else np.delete(block, inside, axis=0)


def parts_without(parts: Sequence[RowPart], left_out: Numbers) -> tuple[RowPart, ...]:
    """The parts of a data set without the rows of these numbers, which are ascending."""
    return tuple(_some_rows(parts, left_out, left_out=True))


def parts_of_rows(parts: Sequence[RowPart], chosen: Numbers) -> tuple[RowPart, ...]:
    """The parts of a data set with the rows of these numbers only, which are ascending."""
    return tuple(_some_rows(parts, chosen, left_out=False))


def _some_rows(parts: Sequence[RowPart], numbers: Numbers, *, left_out: bool) -> Iterator[SomeRows]:
    for part in parts:
        first, end = part.first_row, part.first_row + part.num_rows
        low, high = np.searchsorted(numbers, (first, end))
        before = first - int(low) if left_out else int(low)
        yield SomeRows(part, before, numbers[low:high] - first, left_out)


def part_rows(num_rows: int) -> int:
    """The rows that a part of a data set of ``num_rows`` rows has at most, where it can be cut.

    >>> part_rows(1_000_000), part_rows(10**10)
    (262144, 4882813)
    """
    return max(PART_ROWS, -(-num_rows // MOST_PARTS))


def array_parts(features: Block, rows: int | None = None) -> tuple[ArrayPart, ...]:
    """A matrix in memory in parts of ``rows`` rows."""
    step = part_rows(len(features)) if rows is None else rows
    starts = range(0, len(features), step)
    return tuple(ArrayPart(start, features[start : start + step]) for start in starts)


def file_parts(
    files: Sequence[tuple[FileRows, Sequence[int]]], wanted: Wanted, rows: int | None = None
) -> tuple[FilePart, ...]:
    """Files, each with the rows at which it may be cut, as parts of about ``rows`` rows.

    Small files share a part, large ones are cut; a piece that cannot be cut is as long as it is.
    """
    limit = part_rows(sum(whole.stop for whole, _ in files)) if rows is None else rows
    parts: list[FilePart] = []
    first_row = count = 0
    pieces: list[FileRows] = []
    for whole, bounds in files:
        for start, stop in pairwise(bounds):
            if pieces and count + stop - start > limit:
                parts.append(FilePart(first_row, tuple(pieces), wanted))
                first_row, count, pieces = first_row + count, 0, []
            if pieces and pieces[-1].path == whole.path:
                pieces[-1] = pieces[-1].until(stop)
            else:
                pieces.append(FileRows(whole.path, whole.file, whole.order, start, stop))
            count += stop - start
    return (*parts, FilePart(first_row, tuple(pieces), wanted)) if pieces else tuple(parts)
