"""What every format offers to the readers: families of numeric arrays, read block by block."""

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from spinlock.errors import DataError, SpinlockError

# A file may unpack to this many bytes without question ...
UNQUESTIONED_BYTES = 1 << 30
# ... and beyond that to this many times its own size; real tables stay far below both.
EXPANSION_LIMIT = 200

# Wider than any table whose columns' correlations can be computed.
MAX_COLUMNS = 1_000_000

# All that numpy, zipfile and h5py raise on files that are damaged or made to do damage.
_UNREADABLE = (
    ArithmeticError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class ArraySource(Protocol):
    """An array in a file (or in memory) whose rows are read in blocks.

    Attributes:
        what: how messages call it, such as "array 'features' of x.npz".
        shape: [N, D], [N, T, D] or whatever the file holds; checked by the readers.
        dtype: as stored.
    """

    @property
    def what(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Consecutive blocks of at most ``rows`` rows, in the stored dtype."""
        ...


@runtime_checkable
class RangedArray(ArraySource, Protocol):
    """An ``ArraySource`` that can read some of its rows without reading those before."""

    def bounds(self, step: int) -> list[int]:
        """Rows at which a range may begin or end: 0 first, N last, about ``step`` apart."""
        ...

    def blocks_between(self, rows: int, start: int, stop: int) -> Iterator[NDArray[Any]]:
        """Blocks of at most ``rows`` rows of ``start .. stop - 1``, both of them bounds."""
        ...


@runtime_checkable
class SelectableArray(ArraySource, Protocol):
    """An ``ArraySource`` that can read a part of its last axis without reading the rest."""

    def select(self, columns: NDArray[np.int64]) -> ArraySource:
        """The array with these columns of its last axis only, in this order."""
        ...


@dataclass(frozen=True, eq=False)
class FamilySource:
    """Where a family's features lie.

    Attributes:
        array: [N, D] or [N, T, D].
        columns: the family's indices into the array's last axis; None: all of them.
        feature_names: one name per column, with or without ``family::``; None: 0, 1, 2, ...
    """

    array: ArraySource
    columns: NDArray[np.int64] | None = None
    feature_names: tuple[str, ...] | None = None

    @property
    def num_features(self) -> int:
        """D: the columns of the last axis that belong to the family."""
        return self.array.shape[-1] if self.columns is None else len(self.columns)


class Contents(Protocol):
    """An open data set."""

    @property
    def where(self) -> str:
        """How messages call the data set."""
        ...

    def family_names(self) -> tuple[str, ...]:
        """The families that are loaded where none are asked for."""
        ...

    def family(self, name: str) -> FamilySource | None:
        """The family of that name, None if there is none."""
        ...

    def at(self, path: str, family: str) -> FamilySource:
        """The array at ``path``, as family ``family``; DataError lists what there is."""
        ...

    def labels(self) -> NDArray[Any] | None:
        """[N] numbers or text, None if the data set has none."""
        ...


@dataclass(frozen=True, eq=False)
class MemoryArray:
    """An ``ArraySource`` over an array in memory."""

    what: str
    values: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The array's dtype."""
        return self.values.dtype

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Views of at most ``rows`` rows."""
        for start in range(0, len(self.values), rows):
            yield self.values[start : start + rows]


@contextmanager
def damage_as_data_error(what: str, expected: str) -> Iterator[None]:
    """Turn what a file library raises while it opens or reads ``what`` into one DataError."""
    try:
        yield
    except SpinlockError:
        raise
    except MemoryError as error:
        raise DataError(f"{what} does not fit into memory; read a part of it.") from error
    except _UNREADABLE as error:
        words = " ".join(str(error).split()) or type(error).__name__
        reason = "".join(c if c.isprintable() else "?" for c in words)
        raise DataError(
            f"{what} cannot be read as {expected}: {reason[:300]}. The file may be truncated, "
            "damaged or of another format; write it anew or check its extension."
        ) from error


def check_expansion(what: str, num_bytes: int, stored_bytes: int) -> None:
    """Refuse an array that unpacks to far more than real data do (a decompression bomb)."""
    if num_bytes > UNQUESTIONED_BYTES and num_bytes > EXPANSION_LIMIT * stored_bytes:
        raise DataError(
            f"{what} takes {stored_bytes:,} bytes in the file but would unpack to {num_bytes:,}; "
            f"more than {EXPANSION_LIMIT} times its size is refused as a decompression bomb. If "
            "the data are real, store them uncompressed."
        )


def check_memory(what: str, num_bytes: int) -> None:
    """Refuse what exceeds this machine's memory, before it is allocated."""
    available = physical_memory()
    if available is not None and num_bytes > available:
        raise DataError(
            f"{what} would take {num_bytes / 2**30:,.1f} GiB of memory, this machine has "
            f"{available / 2**30:,.1f}; set max_samples to read a sample of the rows, or families "
            "to read a part of the columns."
        )


def check_width(what: str, num_columns: int) -> None:
    """Refuse absurdly wide tables before a name is made for each column."""
    if num_columns > MAX_COLUMNS:
        raise DataError(
            f"{what} makes {num_columns:,} columns; at most {MAX_COLUMNS:,} can be read. If rows "
            "and columns were exchanged, transpose it."
        )


def physical_memory() -> int | None:
    """Bytes of memory in this machine; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def num_bytes(shape: tuple[int, ...], itemsize: int) -> int:
    """Exact size of an array; no overflow, however absurd the shape."""
    return math.prod(shape) * itemsize


def as_names(values: NDArray[Any], what: str) -> tuple[str, ...]:
    """A [D] array of text as names.

    Raises:
        DataError: not one-dimensional, or not text.
    """
    if values.ndim != 1 or values.dtype.kind not in "US":
        raise DataError(
            f"{what} has shape {list(values.shape)} and dtype {values.dtype}; expected a list of "
            "names: numpy.asarray(names, dtype=str)."
        )
    if values.dtype.kind == "S":
        with damage_as_data_error(what, "UTF-8 names"):
            return tuple(bytes(value).decode("utf-8") for value in values)
    return tuple(str(value) for value in values)
