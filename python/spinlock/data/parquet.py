"""Parquet files, streamed by batches of rows; only the columns that are wanted are read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.columnar import Between, ColumnarContents, Field, Rows
from spinlock.data.selection import Selection
from spinlock.data.sources import (
    Contents,
    check_expansion,
    check_memory,
    damage_as_data_error,
)
from spinlock.data.table import listed
from spinlock.errors import DataError, import_failure

# Bytes read at a time from each column, so that memory does not grow with the row groups.
_BUFFER = 1 << 18
_CODECS = "a Parquet file"


@contextmanager
def open_parquet(path: Path, selection: Selection) -> Iterator[Contents]:
    """A Parquet file as ``Contents``.

    Raises:
        DataError: pyarrow is missing, or the file cannot be used.
    """
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DataError(
            f"reading {path} needs pyarrow{import_failure(error)}: "
            "pip install 'spinlock-vq[parquet]'."
        ) from error
    where = str(path)
    with damage_as_data_error(where, _CODECS):
        file = parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, memory_map=False)
    with file:
        yield _ParquetReader(where, file).contents(selection)


class _ParquetReader:
    """What ``ColumnarContents`` asks of an open Parquet file."""

    def __init__(self, where: str, file: Any) -> None:
        self.where = where
        self._file = file
        with damage_as_data_error(where, _CODECS):
            self._metadata = file.metadata
            self._schema = file.schema_arrow
            names = list(self._schema.names)
            self.num_rows = int(self._metadata.num_rows)
            groups = [self._group(i) for i in range(file.num_row_groups)]
            stored = sum(group.total_compressed for group in groups)
            unpacked = sum(group.total_unpacked for group in groups)
            self._group_rows = tuple(group.rows for group in groups)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{where} has columns of one name: {listed(twice)}; rename them.")
        check_expansion(where, unpacked, max(stored, 1))

    def contents(self, selection: Selection) -> ColumnarContents:
        """The file's columns as families."""
        fields = [self._field(field) for field in self._schema]
        rows = Rows(self.num_rows, self.scan, self._group_rows)
        return ColumnarContents(self.where, rows, fields, self.read_label, selection)

    def scan(
        self, names: Sequence[str], rows: int, between: Between = None
    ) -> Iterator[list[NDArray[Any]]]:
        """Blocks of the named columns, of whole row groups; nulls are NaN."""
        for batch in self._batches(names, rows, between):
            with damage_as_data_error(self.where, _CODECS):
                columns = [_values(batch.column(name), name, self.where) for name in names]
            yield columns

    def read_label(self, name: str) -> NDArray[Any]:
        """A column of numbers or text, whole."""
        check_memory(f"the labels of {self.where}", self.num_rows * 8)
        parts = []
        for batch in self._batches([name], 65_536):
            with damage_as_data_error(f"column {name!r} of {self.where}", "labels"):
                parts.append(_labels(batch.column(name), name, self.where))
        return np.concatenate(parts) if parts else np.zeros(0)

    def _batches(self, names: Sequence[str], rows: int, between: Between = None) -> Iterator[Any]:
        # A name with a dot would be taken for a path into a struct: columns are found by position.
        with damage_as_data_error(self.where, _CODECS):
            batches = self._file.iter_batches(
                batch_size=rows, columns=list(names), row_groups=self._groups_in(between)
            )
            while (batch := next(batches, None)) is not None:
                if batch.num_columns != len(names):
                    raise DataError(
                        f"{self.where}: columns {listed(names)} could not be told apart; rename "
                        "columns with a dot in their name."
                    )
                yield batch

    def _groups_in(self, between: Between) -> list[int] | None:
        if between is None:
            return None
        ends = np.cumsum(self._group_rows)
        inside = (ends > between[0]) & (ends <= between[1])
        return [int(group) for group in np.flatnonzero(inside)]

    def _field(self, field: Any) -> Field:
        import pyarrow.types as types

        shape: list[int] = []
        kind = field.type
        while types.is_fixed_size_list(kind):
            shape.append(int(kind.list_size))
            kind = kind.value_type
        if types.is_list(kind) or types.is_large_list(kind):
            if shape:
                return Field(field.name, (), None, "lists of lists of varying length")
            shape = self._lengths_in_first_row(field.name)
            while types.is_list(kind) or types.is_large_list(kind):
                kind = kind.value_type
            if not shape:
                return Field(field.name, (), None, "lists of varying length")
        dtype = _dtype_of(kind)
        if dtype is None or len(shape) > 2:
            return Field(field.name, (), None, _kind_of(kind, len(shape)))
        return Field(field.name, tuple(shape), dtype, "numbers")

    def _lengths_in_first_row(self, name: str) -> list[int]:
        """Lengths of the nested lists of row 0; every other row must have the same."""
        batch = next(self._batches([name], 1), None)
        value = batch.column(name)[0].as_py() if batch is not None and batch.num_rows else None
        lengths = []
        while isinstance(value, list):
            lengths.append(len(value))
            value = value[0] if value else None
        return lengths

    def _group(self, index: int) -> "_Group":
        group = self._metadata.row_group(index)
        chunks = [group.column(i) for i in range(group.num_columns)]
        return _Group(
            int(group.num_rows),
            sum(int(c.total_compressed_size) for c in chunks),
            sum(int(c.total_uncompressed_size) for c in chunks),
        )


class _Group:
    """Rows and bytes of a row group."""

    def __init__(self, rows: int, total_compressed: int, total_unpacked: int) -> None:
        self.rows = rows
        self.total_compressed = total_compressed
        self.total_unpacked = total_unpacked


def _dtype_of(kind: Any) -> np.dtype[Any] | None:
    """The numpy type of numbers; None for everything else."""
    import pyarrow.types as types

    if types.is_boolean(kind):
        return np.dtype(np.bool_)
    if types.is_decimal(kind) or types.is_null(kind):
        return np.dtype(np.float64)
    if types.is_integer(kind) or types.is_floating(kind):
        found: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
        return found
    return None


def _kind_of(kind: Any, depth: int) -> str:
    import pyarrow.types as types

    if depth > 2:
        return "lists nested more than twice"
    for test, words in (
        (types.is_string, "text"),
        (types.is_large_string, "text"),
        (types.is_dictionary, "categories"),
        (types.is_temporal, "dates or times"),
        (types.is_binary, "bytes"),
        (types.is_large_binary, "bytes"),
        (types.is_struct, "records"),
        (types.is_map, "maps"),
    ):
        if test(kind):
            return words
    return str(kind)[:60]


def _values(column: Any, name: str, where: str) -> NDArray[Any]:
    """[n, *shape] numbers; nulls are NaN."""
    import pyarrow as pa
    import pyarrow.compute as compute
    import pyarrow.types as types

    lengths: list[int] = [len(column)]
    while types.is_nested(column.type):
        if column.null_count:
            raise DataError(
                f"column {name!r} of {where} has rows without a list; fill them, or exclude the "
                "column."
            )
        inner = column.flatten()
        count = int(np.prod(lengths))
        if count and (len(inner) % count or not _even(column, len(inner) // count)):
            raise DataError(
                f"column {name!r} of {where} has lists of different lengths; expected one length, "
                "as in an array. Pad them, or exclude the column."
            )
        lengths.append(len(inner) // count if count else 0)
        column = inner
    if not types.is_floating(column.type):
        if not types.is_integer(column.type) or column.null_count:
            column = compute.cast(column, pa.float64(), safe=False)
        elif column.null_count == 0:
            return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(lengths)
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(lengths)


def _even(column: Any, length: int) -> bool:
    """Whether every list of a list column has that length."""
    import pyarrow.compute as compute
    import pyarrow.types as types

    if types.is_fixed_size_list(column.type):
        return True
    lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
    return bool((lengths == length).all())


def _labels(column: Any, name: str, where: str) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as compute
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_string(column.type) or types.is_large_string(column.type):
        if column.null_count:
            column = compute.fill_null(column, "")
        return np.asarray(column.to_pylist(), dtype=np.str_)
    if _dtype_of(column.type) is None:
        raise DataError(
            f"column {name!r} of {where} holds {column.type}; labels are numbers or text."
        )
    if column.null_count or types.is_decimal(column.type):
        column = compute.cast(column, pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))
