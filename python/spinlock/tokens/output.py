"""Writing a table of rows block by block: all of it under its final name, or nothing."""

from __future__ import annotations

import csv
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from spinlock.errors import ConfigError, DataError, import_failure
from spinlock.training.durable import replaced_file

_ROW_GROUP = 65_536
_CSV_ROWS = 256


class RowWriter(Protocol):
    """Takes the rows of a table in order."""

    def write(self, rows: NDArray[Any]) -> None:
        """Appends rows ``[n, W]``."""

    def close(self) -> None:
        """Ends the file; all rows were written."""

    def abandon(self) -> None:
        """Lets go of the file, which is of no use any more."""


def check_output(
    output: Path, endings: Sequence[str], *, overwrite: bool, reads: str | None = None
) -> None:
    """Finds out before the work what cannot be written.

    Args:
        output: the file to write.
        endings: what its name may end in.
        overwrite: whether a file of that name may be replaced.
        reads: what is read, which must not be the same file.

    Raises:
        ConfigError: another ending, a folder, no folder to write to, or a file that is there.
    """
    if output.suffix.lower() not in endings:
        got = f"'{output.suffix}'" if output.suffix else "none"
        hint = " (an .npy file has no room for the token contract)" * (output.suffix == ".npy")
        raise ConfigError(
            f"the output '{output}': expected a file name that ends in {' or '.join(endings)}, got "
            f"{got}{hint}; choose one of them"
        )
    if output.is_dir():
        raise ConfigError(f"the output '{output}' is a folder; name a file in it")
    if not output.parent.is_dir():
        raise ConfigError(
            f"the output '{output}': the folder '{output.parent}' does not exist; make it first"
        )
    if reads is not None and output.exists() and Path(reads).exists() and output.samefile(reads):
        raise ConfigError(f"the output '{output}' is the file that is read; choose another name")
    if output.exists() and not overwrite:
        raise ConfigError(
            f"the output '{output}' exists already; choose another name, or replace it with "
            "--overwrite (in Python overwrite=True)"
        )


@contextmanager
def row_writer(
    output: Path, make: Callable[[Path], RowWriter], num_rows: int
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """A function that appends rows to a file, which takes its place at the end, in one step.

    Raises:
        DataError: not ``num_rows`` rows were written, or the disk is full or read-only; a file that
            was there before is as it was.
    """
    counted = 0
    try:
        # Through a link: the file that it names is replaced, not the link.
        with replaced_file(output.resolve()) as temporary:
            writer = make(temporary)

            def write(rows: NDArray[Any]) -> None:
                nonlocal counted
                counted += len(rows)
                writer.write(rows)

            try:
                yield write
                if counted != num_rows:
                    raise DataError(
                        f"the data set gave {counted:,} rows, not the {num_rows:,} that it "
                        "promised: it changed while it was read; do it again when nobody writes "
                        "to it"
                    )
                writer.close()
            except BaseException:
                writer.abandon()
                raise
    except OSError as error:
        raise DataError(
            f"could not write '{output}' ({_reason(error)}); what was there before is "
            "untouched: free some space or choose another place"
        ) from error


class NpzRows:
    """An uncompressed ``.npz`` archive with one large array ``[N, W]`` and small ones before it.

    Args:
        path: the file.
        name: of the large array.
        num_rows, width, dtype: its shape and type.
        beside: small arrays by name.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        num_rows: int,
        width: int,
        dtype: np.dtype[Any],
        beside: Mapping[str, NDArray[Any]],
    ) -> None:
        self._dtype = dtype
        self._archive = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True)
        for key, array in beside.items():
            with self._member(key) as stream:
                npy_format.write_array(stream, np.asarray(array), allow_pickle=False)
        self._stream = self._member(name)
        header = {
            "descr": npy_format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (num_rows, width),
        }
        npy_format.write_array_header_1_0(self._stream, header)

    def write(self, rows: NDArray[Any]) -> None:
        """Appends rows."""
        self._stream.write(np.ascontiguousarray(rows, dtype=self._dtype).data)

    def close(self) -> None:
        """Ends the archive."""
        self._stream.close()
        self._archive.close()

    def abandon(self) -> None:
        """Lets go of the archive."""
        for part in (self._stream, self._archive):
            with suppress(OSError, ValueError):
                part.close()

    def _member(self, name: str) -> IO[bytes]:
        # A ZipInfo of its own has no time of day in it: equal rows give equal files.
        return self._archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


class ParquetRows:
    """A Parquet file in groups of rows, one column per name, and one of labels where given.

    Args:
        path: the file.
        names, dtypes: of the columns.
        metadata: of the schema.
        labels: name of the label column and labels ``[N]``.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        dtypes: Sequence[np.dtype[Any]],
        metadata: Mapping[str, str],
        labels: tuple[str, NDArray[Any]] | None = None,
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        fields = [pa.field(n, pa.from_numpy_dtype(t)) for n, t in zip(names, dtypes, strict=True)]
        if labels is not None:
            fields.append(pa.field(labels[0], pa.array(labels[1][:1]).type))
        self._labels = None if labels is None else labels[1]
        self._dtypes = tuple(dtypes)
        self._schema = pa.schema(fields, metadata=dict(metadata))
        # Small integers repeat, floats do not: bytes of equal weight side by side pack better then.
        floats = [n for n, t in zip(names, dtypes, strict=True) if t.kind == "f"]
        self._file = parquet.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            use_dictionary=not floats,
            use_byte_stream_split=floats or False,
        )
        self._waiting: list[NDArray[Any]] = []
        self._held = self._done = 0

    def write(self, rows: NDArray[Any]) -> None:
        """Appends rows; a group of them goes to the file at once."""
        self._waiting.append(rows)
        self._held += len(rows)
        if self._held >= _ROW_GROUP:
            self._write_group()

    def close(self) -> None:
        """Ends the file."""
        if self._held:
            self._write_group()
        self._file.close()

    def abandon(self) -> None:
        """Lets go of the file."""
        with suppress(OSError):
            self._file.close()

    def _write_group(self) -> None:
        import pyarrow as pa

        rows = np.concatenate(self._waiting)
        columns = [
            pa.array(np.ascontiguousarray(rows[:, index], dtype=dtype))
            for index, dtype in enumerate(self._dtypes)
        ]
        if self._labels is not None:
            columns.append(pa.array(self._labels[self._done : self._done + len(rows)]))
        self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._done += len(rows)
        self._waiting, self._held = [], 0


class CsvRows:
    """A CSV file of numbers with a line of names; a missing value is an empty field.

    Numbers have the fewest digits that give the same float32 again.
    """

    def __init__(
        self, path: Path, names: Sequence[str], labels: tuple[str, NDArray[Any]] | None = None
    ) -> None:
        self._labels = None if labels is None else labels[1]
        self._done = 0
        self._file = path.open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file, lineterminator="\n")
        self._csv.writerow([*names, *([] if labels is None else [labels[0]])])

    def write(self, rows: NDArray[Any]) -> None:
        """Appends rows."""
        for start in range(0, len(rows), _CSV_ROWS):
            part = rows[start : start + _CSV_ROWS]
            text = part.astype(str)
            text[np.isnan(part)] = ""
            lines = text.tolist()
            if self._labels is not None:
                labels = self._labels[self._done : self._done + len(part)].tolist()
                lines = [[*line, label] for line, label in zip(lines, labels, strict=True)]
            self._csv.writerows(lines)
            self._done += len(part)

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def abandon(self) -> None:
        """Lets go of the file."""
        with suppress(OSError):
            self._file.close()


def require_pyarrow(output: Path, verb: str = "writing") -> None:
    """Says in one message what Parquet needs.

    Raises:
        DataError: pyarrow is missing.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"{verb} '{output}' needs pyarrow{import_failure(error)}: "
            "pip install 'spinlock-vq[parquet]'"
        ) from error


def _reason(error: OSError) -> str:
    # Not strerror, for which pyarrow has a text of its own.
    return os.strerror(error.errno) if error.errno else str(error)
