"""NumPy files: ``.npz`` archives and single ``.npy`` arrays, streamed, never unpickled."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from spinlock.data.selection import Selection
from spinlock.data.sources import (
    ArraySource,
    Contents,
    FamilySource,
    as_names,
    check_expansion,
    check_memory,
    check_width,
    damage_as_data_error,
    num_bytes,
)
from spinlock.data.table import SEPARATOR, listed
from spinlock.errors import DataConfigError, DataError

FEATURES, NAMES, LABELS, SIZES = "features", "feature_names", "labels", "category_sizes"
NAMES_SUFFIX = "_feature_names"


@dataclass(frozen=True, eq=False)
class NpyArray:
    """An ``ArraySource`` over a stream in NumPy's ``.npy`` format."""

    what: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Consecutive blocks; an array in Fortran order is read whole first."""
        if self.fortran_order:
            check_memory(self.what, num_bytes(self.shape, self.dtype.itemsize))
        row_bytes = num_bytes(self.shape[1:], self.dtype.itemsize)
        step = self.shape[0] if self.fortran_order else rows
        with damage_as_data_error(self.what, "a NumPy array"), self.open() as stream:
            _read_header(stream, self.what)
            for start in range(0, self.shape[0], step):
                count = min(step, self.shape[0] - start)
                data = stream.read(count * row_bytes)
                if len(data) != count * row_bytes:
                    raise DataError(
                        f"{self.what} ends early: its header promises {self.shape[0]} rows, the "
                        f"file breaks off after row {start}. It is truncated; write it anew."
                    )
                yield from self._arrays(data, count, rows)

    def _arrays(self, data: bytes, count: int, rows: int) -> Iterator[NDArray[Any]]:
        flat = np.frombuffer(data, dtype=self.dtype)
        if self.fortran_order:
            whole = flat.reshape(self.shape[::-1]).T
            for start in range(0, count, rows):
                yield whole[start : start + rows]
        else:
            yield flat.reshape(count, *self.shape[1:])


def _read_header(stream: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy_format.read_magic(stream)
    if version == (1, 0):
        shape, fortran_order, dtype = npy_format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran_order, dtype = npy_format.read_array_header_2_0(stream)
    else:
        raise DataError(f"{what} has .npy version {version}; plain arrays have 1.0 or 2.0.")
    if dtype.hasobject:
        raise DataError(
            f"{what} holds pickled Python objects, which are never read, because unpickling runs "
            "code. Save numbers as numbers and names with numpy.asarray(names, dtype=str)."
        )
    return tuple(int(size) for size in shape), bool(fortran_order), dtype


def _npy_array(
    what: str, open_: Callable[[], AbstractContextManager[IO[bytes]]], size: int, stored: int
) -> NpyArray:
    """Reads the header of a stream of ``size`` bytes, which take ``stored`` bytes in the file."""
    with damage_as_data_error(what, "a NumPy array"), open_() as stream:
        shape, fortran_order, dtype = _read_header(stream, what)
        header = stream.tell()
    needed = num_bytes(shape, dtype.itemsize)
    if any(length < 0 for length in shape) or header + needed > size:
        raise DataError(
            f"{what} ends early: its header promises shape {list(shape)} and dtype {dtype}, "
            f"{needed:,} bytes, the file holds {size - header:,}. It is truncated; write it anew."
        )
    check_expansion(what, needed, stored)
    return NpyArray(what, shape, dtype, fortran_order, open_)


def _whole(array: NpyArray) -> NDArray[Any]:
    check_memory(array.what, num_bytes(array.shape, array.dtype.itemsize))
    if not array.shape or 0 in array.shape:
        return np.empty(array.shape, array.dtype)
    return next(array.blocks(array.shape[0]))


@dataclass(frozen=True, eq=False)
class NpyContents:
    """A single array as the only family, called ``features``."""

    where: str
    array: NpyArray

    def family_names(self) -> tuple[str, ...]:
        """Always ``features``."""
        return (FEATURES,)

    def family(self, name: str) -> FamilySource | None:
        """The array, under the name ``features``."""
        return FamilySource(self.array) if name == FEATURES else None

    def at(self, path: str, family: str) -> FamilySource:
        """A ``.npy`` file has nothing to choose from."""
        raise DataError(
            f"families.{family}.path is {path!r}, but {self.where} is a single array without "
            f"names inside; leave the path out and call the family '{FEATURES}'."
        )

    def labels(self) -> None:
        """A ``.npy`` file has none."""
        return


class NpzContents:
    """An ``.npz`` archive: one ``features`` matrix, or one array per family."""

    def __init__(self, where: str, archive: zipfile.ZipFile, selection: Selection) -> None:
        self.where = where
        label = selection.label
        self._label = label or LABELS
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            name, dot, extension = member.filename.rpartition(".")
            if not dot or extension != "npy":
                continue
            if name in self._members:
                raise DataError(f"{where} holds two arrays named {name!r}; write it anew.")
            self._members[name] = member
        if label is not None and label not in self._members and selection.required:
            raise DataConfigError(
                f"label_column is {label!r}, but {where} holds no array of that name; it holds: "
                f"{listed(list(self._members))}."
            )
        self._arrays: dict[str, NpyArray] = {}
        self._columns = self._families_of_features() if FEATURES in self._members else {}

    def family_names(self) -> tuple[str, ...]:
        """The families of ``features``; without it, every array that is not names or labels."""
        if self._columns:
            return tuple(self._columns)
        return tuple(name for name in self._members if not self._is_annotation(name))

    def family(self, name: str) -> FamilySource | None:
        """A family of ``features``, or the array of that name."""
        if name in self._columns:
            return self._columns[name]
        return self.at(name, name) if name in self._members else None

    def at(self, path: str, family: str) -> FamilySource:
        """The array named ``path``, with names from ``<path>_feature_names``."""
        if path not in self._members:
            raise DataError(
                f"family {family!r}: {self.where} holds no array {path!r}; it holds: "
                f"{listed(list(self._members))}."
            )
        array = self._array(path)
        alone = path == FEATURES or self.family_names() == (path,)
        key = next(
            (k for k in (path + NAMES_SUFFIX, NAMES if alone else "") if k in self._members), None
        )
        return FamilySource(array, None, None if key is None else self._names(key, array))

    def labels(self) -> NDArray[Any] | None:
        """The array ``labels``, or the one that was asked for."""
        return _whole(self._array(self._label)) if self._label in self._members else None

    def _is_annotation(self, name: str) -> bool:
        described = name.removesuffix(NAMES_SUFFIX)
        return name in (NAMES, self._label, SIZES) or (
            described != name and described in self._members
        )

    def _array(self, name: str) -> NpyArray:
        if name not in self._arrays:
            member = self._members[name]
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(
                    f"array {name!r} of {self.where} is packed with zip method "
                    f"{member.compress_type}; expected what numpy.savez or savez_compressed write."
                )
            self._arrays[name] = _npy_array(
                f"array {name!r} of {self.where}",
                lambda: self._archive.open(member),
                member.file_size,
                member.compress_size,
            )
        return self._arrays[name]

    def _names(self, key: str, array: ArraySource) -> tuple[str, ...]:
        source = self._array(key)
        if source.shape != array.shape[-1:]:
            raise DataError(
                f"{source.what} has shape {list(source.shape)}; expected one name for each column "
                f"of {array.what}, {list(array.shape[-1:])}."
            )
        return as_names(_whole(source), source.what)

    def _families_of_features(self) -> dict[str, FamilySource]:
        """The columns of ``features`` by category sizes, else by the names' own ``family::``."""
        array = self._array(FEATURES)
        width = array.shape[-1] if array.shape else 0
        check_width(array.what, width)
        names = self._names(NAMES, array) if NAMES in self._members else None
        if SIZES in self._members:
            families = self._category_of_columns(array, width)
        elif names is not None:
            families = [n.partition(SEPARATOR)[0] if SEPARATOR in n else FEATURES for n in names]
        else:
            return {FEATURES: FamilySource(array)}
        columns: dict[str, list[int]] = {}
        for column, family in enumerate(families):
            columns.setdefault(family, []).append(column)
        return {
            family: FamilySource(
                array,
                np.asarray(indices, dtype=np.int64),
                None if names is None else tuple(names[i] for i in indices),
            )
            for family, indices in columns.items()
        }

    def _category_of_columns(self, array: ArraySource, width: int) -> list[str]:
        source = self._array(SIZES)
        sizes = _whole(source)
        if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or sizes.min(initial=1) < 1:
            raise DataError(f"{source.what} must be a list of positive integers, one per category.")
        if sum(sizes.tolist()) != width:
            raise DataError(
                f"{source.what} adds up to {sum(sizes.tolist())} columns, but {array.what} has "
                f"{width} (shape {list(array.shape)})."
            )
        return [f"category_{c}" for c, size in enumerate(sizes.tolist(), 1) for _ in range(size)]


@contextmanager
def open_npz(path: Path, selection: Selection) -> Iterator[Contents]:
    """An ``.npz`` archive as ``Contents``."""
    with damage_as_data_error(str(path), "an .npz archive"):
        archive = zipfile.ZipFile(path)
    with archive:
        yield NpzContents(str(path), archive, selection)


@contextmanager
def open_npy(path: Path, selection: Selection) -> Iterator[Contents]:
    """A ``.npy`` file as ``Contents``."""
    if selection.label is not None and selection.required:
        raise DataConfigError(
            f"label_column is {selection.label!r}, but {path} is a single array without labels; "
            "leave it out."
        )
    where, size = str(path), path.stat().st_size
    yield NpyContents(where, _npy_array(where, lambda: path.open("rb"), size, size))
