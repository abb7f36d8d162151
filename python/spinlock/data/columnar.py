"""Tables of named columns (Parquet, CSV) as families: scalar columns by name, lists as arrays."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.selection import Selection
from spinlock.data.sources import FamilySource, check_width
from spinlock.data.table import SEPARATOR, listed
from spinlock.errors import DataConfigError, DataError

FEATURES, LABELS = "features", "labels"

_LISTED_STRAYS = 5

# Rows that are transposed together: few enough to stay in a core's cache.
_TRANSPOSED = 256


@dataclass(frozen=True)
class Field:
    """One column of a file.

    Attributes:
        name: as in the file.
        shape: of one value: () for a number, (D,) for a list, (T, D) for a list of lists.
        dtype: of its numbers; None where it holds something else.
        kind: what it holds, for messages.
        stray: a text among numbers and its line, for messages; empty where that is not the matter.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    kind: str
    stray: str = ""


# (columns, rows, range of rows or None) -> blocks: per column a number array [n, *shape].
Between = tuple[int, int] | None
Scan = Callable[[Sequence[str], int, Between], Iterator[list[NDArray[Any]]]]


@dataclass(frozen=True, eq=False)
class Rows:
    """How the rows of a file of columns are read.

    Attributes:
        count: N.
        scan: reads columns.
        groups: rows of the groups that it can begin and end at; one group if it always reads all.
    """

    count: int
    scan: Scan
    groups: tuple[int, ...] = ()

    def bounds(self, step: int) -> list[int]:
        """0, then ends of groups at least ``step`` rows apart, then N.

        >>> Rows(10, scan=lambda names, rows, between: iter(()), groups=(2, 3, 2, 3)).bounds(4)
        [0, 5, 10]
        """
        found, row = [0], 0
        for group in self.groups:
            row += group
            if row - found[-1] >= step and row < self.count:
                found.append(row)
        return [*found, self.count]


@dataclass(frozen=True, eq=False)
class ScalarColumns:
    """A ``RangedArray`` [N, D] over D columns of numbers; the other columns are never read."""

    what: str
    rows: Rows
    fields: tuple[Field, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, D]."""
        return (self.rows.count, len(self.fields))

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 where every column fits into it exactly, else float64."""
        # Nulls become NaN, so that integers become floats as well.
        types = [np.result_type(field.dtype, np.float16) for field in self.fields if field.dtype]
        return np.result_type(np.float32, *set(types))

    def select(self, columns: NDArray[np.int64]) -> "ScalarColumns":
        """Some of the columns."""
        return replace(self, fields=tuple(self.fields[i] for i in columns))

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Consecutive blocks, [n, D] in C order."""
        return self._blocks(rows, None)

    def bounds(self, step: int) -> list[int]:
        """Between groups of rows."""
        return self.rows.bounds(step)

    def blocks_between(self, rows: int, start: int, stop: int) -> Iterator[NDArray[Any]]:
        """The same, of some groups of rows."""
        return self._blocks(rows, (start, stop))

    def _blocks(self, rows: int, between: Between) -> Iterator[NDArray[Any]]:
        for columns in self.rows.scan([field.name for field in self.fields], rows, between):
            yield _side_by_side(columns, self.dtype)


@dataclass(frozen=True, eq=False)
class ListColumn:
    """A ``RangedArray`` [N, D] or [N, T, D] over one column of lists."""

    what: str
    rows: Rows
    field: Field

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, D] or [N, T, D]."""
        return (self.rows.count, *self.field.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        assert self.field.dtype is not None
        return self.field.dtype

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Consecutive blocks."""
        return self._blocks(rows, None)

    def bounds(self, step: int) -> list[int]:
        """Between groups of rows."""
        return self.rows.bounds(step)

    def blocks_between(self, rows: int, start: int, stop: int) -> Iterator[NDArray[Any]]:
        """The same, of some groups of rows."""
        return self._blocks(rows, (start, stop))

    def _blocks(self, rows: int, between: Between) -> Iterator[NDArray[Any]]:
        for (block,) in self.rows.scan([self.field.name], rows, between):
            yield block


def _side_by_side(columns: list[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """[n, D] in C order from D contiguous columns, a cacheful of rows at a time."""
    count = len(columns[0])
    out = np.empty((count, len(columns)), dtype)
    tile = np.empty((len(columns), _TRANSPOSED), dtype)
    for start in range(0, count, _TRANSPOSED):
        stop = min(start + _TRANSPOSED, count)
        for index, column in enumerate(columns):
            tile[index, : stop - start] = column[start:stop]
        out[start:stop] = tile[:, : stop - start].T
    return out


class ColumnarContents:
    """A file of named columns as ``Contents``.

    A column ``family::name`` of numbers belongs to that family, a name without ``::`` to
    ``features``; a column of lists is a family of its own.
    """

    def __init__(
        self,
        where: str,
        rows: Rows,
        fields: Sequence[Field],
        read_label: Callable[[str], NDArray[Any]],
        selection: Selection,
    ) -> None:
        self.where = where
        self._rows = rows
        self._read_label = read_label
        self._label = _label_of(where, fields, selection)
        check_width(where, len(fields))
        kept = [f for f in fields if f.name != self._label and not selection.excludes(f.name)]
        if fields and not kept:
            raise DataConfigError(
                f"exclude_columns and labels leave no column of {where}; it has: "
                f"{listed([f.name for f in fields])}. Exclude fewer."
            )
        _require_numbers(where, kept)
        self._scalars = tuple(field for field in kept if field.shape == ())
        self._lists = {field.name: field for field in kept if field.shape != ()}
        self._scalar_array = ScalarColumns(where, rows, self._scalars)
        self._families: dict[str, list[int]] = {}
        for index, field in enumerate(self._scalars):
            family = field.name.partition(SEPARATOR)[0] if SEPARATOR in field.name else FEATURES
            self._families.setdefault(family, []).append(index)
        clash = [name for name in self._lists if name in self._families]
        if clash:
            raise DataError(
                f"{where} holds both a column of lists and single columns of the families "
                f"{listed(clash)}; rename one of them."
            )

    def family_names(self) -> tuple[str, ...]:
        """Families of single columns, then columns of lists."""
        return (*self._families, *self._lists)

    def family(self, name: str) -> FamilySource | None:
        """The single columns of a family, or a column of lists."""
        if name in self._families:
            columns = np.asarray(self._families[name], dtype=np.int64)
            names = tuple(self._scalars[i].name for i in columns)
            return FamilySource(self._scalar_array, columns, names)
        return self.at(name, name) if name in self._lists else None

    def at(self, path: str, family: str) -> FamilySource:
        """The column of lists called ``path``, or a single column."""
        if path in self._lists:
            what = f"column {path!r} of {self.where}"
            return FamilySource(ListColumn(what, self._rows, self._lists[path]))
        names = [field.name for field in self._scalars]
        if path in names:
            bare = path.rpartition(SEPARATOR)[2]
            index = np.asarray([names.index(path)], dtype=np.int64)
            return FamilySource(self._scalar_array, index, (bare,))
        raise DataError(
            f"family {family!r}: {self.where} has no column {path!r}; it has: "
            f"{listed([*self._lists, *names])}."
        )

    def labels(self) -> NDArray[Any] | None:
        """The column of labels, read whole."""
        return None if self._label is None else self._read_label(self._label)


def _label_of(where: str, fields: Sequence[Field], selection: Selection) -> str | None:
    names = [field.name for field in fields]
    if selection.label is None:
        return LABELS if LABELS in names else None
    if selection.label not in names:
        if not selection.required:
            return None
        raise DataConfigError(
            f"label_column is {selection.label!r}, but {where} has no column of that name; it "
            f"has: {listed(names)}."
        )
    return selection.label


def _require_numbers(where: str, fields: Sequence[Field]) -> None:
    """Refuse columns that hold no numbers, all in one message, by what they hold."""
    kinds: dict[str, list[str]] = {}
    strays = [f"column {field.name!r} holds {field.stray}" for field in fields if field.stray]
    if strays:
        more = f" ({len(strays)} such columns)" if len(strays) > _LISTED_STRAYS else ""
        raise DataError(
            f"{where}: {', '.join(strays[:_LISTED_STRAYS])}{more}, among numbers. Features are "
            "numbers: correct the value, leave it empty if it is missing, or exclude the column "
            "(exclude_columns)."
        )
    for field in fields:
        if field.dtype is None:
            kinds.setdefault(field.kind, []).append(field.name)
    if kinds:
        found = "; ".join(f"{kind}: {listed(names)}" for kind, names in kinds.items())
        raise DataError(
            f"{where} has columns that are no numbers ({found}). Leave them out by "
            "exclude_columns, name one of them as label_column, or turn them into numbers first: "
            "one column per value (pandas.get_dummies) or ordered codes for categories, seconds "
            "for dates."
        )
    empty = [field.name for field in fields if 0 in field.shape]
    if empty:
        raise DataError(f"{where} has columns of empty lists: {listed(empty)}; exclude them.")
