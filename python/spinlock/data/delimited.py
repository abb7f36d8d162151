"""CSV and TSV files, streamed; every column is numbers, or is named."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.columnar import Between, ColumnarContents, Field, Rows
from spinlock.data.selection import Selection
from spinlock.data.sources import Contents, damage_as_data_error
from spinlock.data.table import listed
from spinlock.errors import DataError, import_failure

# Bytes that are parsed at a time; a line must fit.
_PARSED = 1 << 22
_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "NULL", "null", "None", "NONE", "#N/A"]
_KIND = "a table of numbers"
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:inf|infinity)\s*$"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@contextmanager
def open_delimited(path: Path, selection: Selection) -> Iterator[Contents]:
    """A CSV or TSV file (``.gz`` too) with a header line as ``Contents``.

    Opening reads the file once, to count its rows.

    Raises:
        DataError: pyarrow is missing, or the file cannot be used.
    """
    try:
        import pyarrow.csv  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"reading {path} needs pyarrow{import_failure(error)}: "
            "pip install 'spinlock-vq[parquet]'."
        ) from error
    yield _DelimitedReader(path).contents(selection)


class _DelimitedReader:
    """What ``ColumnarContents`` asks of a delimited file."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path
        self._delimiter = "\t" if ".tsv" in path.name.lower() else ","
        with damage_as_data_error(self.where, _KIND):
            self._check_beginning()
            # The first block tells what the columns hold; numbers are asked for from then on.
            with self._open({}, None) as stream:
                first = next(iter(stream), None)
                self._schema = stream.schema
            self.names = [str(name) for name in self._schema.names]
        self._check_header()
        self._strays: dict[str, str] = {}
        self._types = {
            name: self._type_of(name, None if first is None else first.column(index))
            for index, name in enumerate(self.names)
        }

    def contents(self, selection: Selection) -> ColumnarContents:
        """The file's columns as families."""
        numeric = [name for name, kind in self._types.items() if kind is not None]
        rows = self._count_rows(numeric[0] if numeric else self.names[0])
        fields = [
            Field(name, (), kind, "text" if kind is None else "numbers", self._strays.get(name, ""))
            for name, kind in self._types.items()
        ]
        table = Rows(rows, self.scan)
        return ColumnarContents(self.where, table, fields, self.read_label, selection)

    def scan(
        self,
        names: Sequence[str],
        rows: int,
        between: Between = None,  # noqa: ARG002  where a line begins is not known
    ) -> Iterator[list[NDArray[Any]]]:
        """Blocks of the named columns, from the first row on; empty cells and the like are NaN."""
        import pyarrow as pa

        types = {
            name: pa.bool_() if self._types[name] == np.bool_ else pa.float64() for name in names
        }
        with self._numbers_expected(names), self._open(types, names) as stream:
            for batch in stream:
                for start in range(0, batch.num_rows, rows):
                    block = batch.slice(start, rows)
                    yield [_numbers(block.column(name)) for name in names]

    def read_label(self, name: str) -> NDArray[Any]:
        """A column of numbers or text, whole."""
        import pyarrow as pa

        text = self._types[name] is None
        kind = pa.string() if text else pa.float64()
        if self._types[name] == np.bool_:
            kind = pa.bool_()
        parts: list[NDArray[Any]] = []
        with self._numbers_expected([name]), self._open({name: kind}, [name]) as stream:
            for batch in stream:
                column = batch.column(name)
                parts.append(
                    np.asarray([v or "" for v in column.to_pylist()], dtype=np.str_)
                    if text
                    else _numbers(column)
                )
        labels: NDArray[Any] = np.concatenate(parts) if parts else np.zeros(0)
        # Class numbers are whole; float64 is only how missing ones would have been told.
        if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels % 1 == 0).all():
            return labels.astype(np.int64)
        return labels

    @contextmanager
    def _open(self, types: dict[str, Any], names: Sequence[str] | None) -> Iterator[Any]:
        import pyarrow.csv as csv

        with csv.open_csv(
            self._path,
            read_options=csv.ReadOptions(use_threads=False, block_size=_PARSED),
            parse_options=csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=types,
                include_columns=None if names is None else list(names),
                null_values=_MISSING,
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        ) as stream:
            yield stream

    def _check_beginning(self) -> None:
        with self._path.open("rb") as file:
            beginning = file.read(4096)
        if beginning.startswith(_UTF_16):
            raise DataError(f"{self.where} is text in UTF-16; save it as UTF-8.")
        if b"\0" in beginning and not self._path.name.lower().endswith(".gz"):
            raise DataError(f"{self.where} holds zero bytes: it is no text file.")
        if not beginning.strip():
            raise DataError(f"{self.where} is empty; expected a line of column names and rows.")

    def _check_header(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise DataError(f"{self.where} has columns of one name: {listed(twice)}; rename them.")
        if all(_is_number(name) for name in self.names):
            raise DataError(
                f"{self.where} begins with numbers ({listed(self.names, 4)}); expected a first "
                "line with the names of the columns. Add one."
            )
        if len(self.names) == 1 and re.search(r"[;\t|]", self.names[0]):
            raise DataError(
                f"{self.where} has one column, {listed(self.names)}; values are separated by "
                "commas in .csv and by tabs in .tsv files. Save it with that separator."
            )
        if "" in self.names:
            raise DataError(
                f"{self.where}: column {self.names.index('') + 1} has no name in the first line, "
                "as an index has that pandas wrote. Save without it (index=False), or name it."
            )

    def _type_of(self, name: str, first: Any) -> np.dtype[Any] | None:
        """float64 or bool; None where the first block holds text."""
        import pyarrow.types as types

        kind = self._schema.field(name).type
        if types.is_boolean(kind):
            return np.dtype(np.bool_)
        if types.is_integer(kind) or types.is_floating(kind):
            return np.dtype(np.float64)
        if types.is_null(kind) or (first is not None and first.null_count == len(first)):
            return np.dtype(np.float64)
        if first is not None and types.is_string(kind):
            self._strays[name] = _stray(first)
        return None

    def _count_rows(self, name: str) -> int:
        import pyarrow as pa

        with (
            damage_as_data_error(self.where, _KIND),
            self._open({name: pa.string()}, [name]) as stream,
        ):
            return sum(batch.num_rows for batch in stream)

    @contextmanager
    def _numbers_expected(self, names: Sequence[str]) -> Iterator[None]:
        """Text in the middle of a column of numbers is said as such."""
        try:
            with damage_as_data_error(self.where, _KIND):
                yield
        except DataError as error:
            found = str(error)
            if "conversion error" not in found:
                raise
            column = re.search(r"CSV column #(\d+)", found)
            value = re.search(r"invalid value '(.{0,60}?)'", found, re.DOTALL)
            row = re.search(r"Row #(\d+)", found)
            # With columns chosen, arrow counts among all columns of the file.
            name = self.names[int(column[1])] if column else listed(list(names), 3)
            raise DataError(
                f"{self.where}: column {name!r} holds "
                f"{repr(value[1]) if value else 'text'}"
                f"{f' in line {int(row[1])}' if row else ''}, where numbers come before. Features "
                "are numbers: correct the value, leave it empty if it is missing, or exclude the "
                "column (exclude_columns)."
            ) from error


def _numbers(column: Any) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as compute
    import pyarrow.types as types

    if types.is_boolean(column.type):
        column = compute.cast(column, pa.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _stray(column: Any) -> str:
    """The first text of a column that is mostly numbers, and its line; empty for another column."""
    import pyarrow.compute as compute

    numbers = compute.match_substring_regex(column, _NUMBER)
    known = len(column) - column.null_count
    count = compute.sum(numbers).as_py() or 0
    if not known / 2 < count < known:
        return ""
    row = compute.index(numbers, False).as_py()
    return f"{column[row].as_py()[:60]!r} in line {row + 2}"  # after the line of names


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
