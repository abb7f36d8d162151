"""HDF5 files: families under ``/features``, streamed; nothing outside the file is ever read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from spinlock.data.registry_attribute import REGISTRY, registered_names
from spinlock.data.selection import Selection
from spinlock.data.sources import (
    Contents,
    FamilySource,
    check_expansion,
    check_memory,
    damage_as_data_error,
    num_bytes,
)
from spinlock.data.table import listed
from spinlock.errors import DataConfigError, DataError

FEATURES, LABELS = "features", "labels"
# Where a family's array lies under /features/<family>, in order of preference.
PLACES = ("aggregated/features", "features")
MAX_SOFT_LINKS = 16


@dataclass(frozen=True, eq=False)
class Hdf5Array:
    """An ``ArraySource`` over a data set of an open HDF5 file."""

    what: str
    dataset: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Consecutive blocks, of whole chunks where the chunks have fewer rows than a block."""
        return self.blocks_between(rows, 0, self.shape[0])

    def bounds(self, step: int) -> list[int]:
        """Between chunks, ``step`` rows apart or the fewest that are whole chunks."""
        with damage_as_data_error(self.what, "an HDF5 data set"):
            chunk = self._chunk_rows()
        return [*range(0, self.shape[0], max(chunk, step // chunk * chunk)), self.shape[0]]

    def blocks_between(self, rows: int, start: int, stop: int) -> Iterator[NDArray[Any]]:
        """The same, of some of the rows."""
        with damage_as_data_error(self.what, "an HDF5 data set"):
            chunk = self._chunk_rows()
            step = rows if chunk > rows else rows // chunk * chunk
            for first in range(start, stop, step):
                block: NDArray[Any] = self.dataset[first : min(first + step, stop)]
                yield from (block[i : i + rows] for i in range(0, len(block), rows))

    def _chunk_rows(self) -> int:
        return int(self.dataset.chunks[0]) if self.dataset.chunks else 1


class Hdf5Contents:
    """An open HDF5 file; see docs/formats.md for its layout."""

    def __init__(self, where: str, file: Any, selection: Selection) -> None:
        self.where = where
        self._label = selection.label
        self._label_required = selection.required
        self._file = file

    def family_names(self) -> tuple[str, ...]:
        """The groups under ``/features`` that hold an array at one of the known places."""
        group = self._walk(FEATURES)[-1]
        with damage_as_data_error(f"/{FEATURES} in {self.where}", "an HDF5 group"):
            names = list(group) if isinstance(group, h5py.Group) else []
        return tuple(name for name in names if self.family(name) is not None)

    def family(self, name: str) -> FamilySource | None:
        """``/features/<name>/aggregated/features``, else ``/features/<name>/features``."""
        for place in PLACES:
            path = f"{FEATURES}/{name}/{place}"
            if isinstance(self._walk(path)[-1], h5py.Dataset):
                return self.at(path, name)
        return None

    def at(self, path: str, family: str) -> FamilySource:
        """The data set at ``path``, with the names that the nearest ``feature_registry`` gives."""
        steps = self._walk(path)
        if not isinstance(steps[-1], h5py.Dataset):
            raise DataError(
                f"family {family!r}: {self.where} has no data set at {path!r}; "
                f"families under /{FEATURES}: {listed(self.family_names())}."
            )
        array = self._array(path, steps[-1])
        for node in reversed(steps):
            with damage_as_data_error(f"attribute {REGISTRY} in {self.where}", "names"):
                raw, owner = node.attrs.get(REGISTRY), node.name
            if raw is None:
                continue
            what = f"attribute {REGISTRY} of {owner!r} in {self.where}"
            names = registered_names(raw, family, what)
            if names is None:
                continue
            if len(names) != array.shape[-1]:
                raise DataError(
                    f"{what} lists {len(names)} names for family {family!r}, but {array.what} has "
                    f"{array.shape[-1]} columns (shape {list(array.shape)})."
                )
            return FamilySource(array, None, names)
        return FamilySource(array)

    def labels(self) -> NDArray[Any] | None:
        """The data set ``/labels``, or the one that was asked for: numbers or text."""
        path = self._label or LABELS
        dataset = self._walk(path)[-1]
        if not isinstance(dataset, h5py.Dataset):
            if self._label is None or not self._label_required:
                return None
            raise DataConfigError(
                f"label_column is {path!r}, but {self.where} has no data set at that path."
            )
        array = self._array(path, dataset, may_be_text=True)
        check_memory(array.what, num_bytes(array.shape, array.dtype.itemsize))
        with damage_as_data_error(array.what, "labels"):
            if h5py.check_string_dtype(dataset.dtype) is not None:
                return np.asarray(dataset.asstr()[...].tolist(), dtype=np.str_)
            return np.asarray(dataset[...])

    def _array(self, path: str, dataset: Any, *, may_be_text: bool = False) -> Hdf5Array:
        what = f"data set {'/' + path.strip('/')!r} of {self.where}"
        with damage_as_data_error(what, "an HDF5 data set"):
            elsewhere = dataset.is_virtual or bool(dataset.external)
            shape = tuple(int(length) for length in dataset.shape or ())
            array = Hdf5Array(what, dataset, shape, dataset.dtype)
            size = num_bytes(array.shape, array.dtype.itemsize)
            stored = int(dataset.id.get_storage_size())
            text = h5py.check_string_dtype(dataset.dtype) is not None
        if elsewhere:
            kind = "virtual" if dataset.is_virtual else "stored in external files"
            raise DataError(
                f"{what} is {kind}; data sets that refer to other files are not followed. Copy the "
                "values into one file, for instance with h5repack."
            )
        if array.dtype.hasobject and not (text and may_be_text):
            kind = "text" if text else "references or ragged rows"
            raise DataError(f"{what} holds {kind}; expected an array of numbers.")
        check_expansion(what, size, stored)
        return array

    def _walk(self, path: str) -> list[Any]:
        """The objects on the way to ``path``, root first; the last is None if nothing is there.

        Goes link by link, because plain indexing would follow links into other files.
        """
        with damage_as_data_error(f"{path!r} in {self.where}", "HDF5 links"):
            root = self._file["/"]
            steps, pending, hops = [root], _parts(path), 0
            while pending:
                part, here = pending.pop(), steps[-1]
                key = part.encode("utf-8", "surrogateescape")
                if not isinstance(here, h5py.Group) or not here.id.links.exists(key):
                    return [*steps, None]
                kind = here.id.links.get_info(key).type
                if kind == h5py.h5l.TYPE_HARD:
                    steps.append(here[part])
                    continue
                hops += 1
                if kind != h5py.h5l.TYPE_SOFT or hops > MAX_SOFT_LINKS:
                    kinds = {h5py.h5l.TYPE_SOFT: "a chain of links"}
                    raise DataError(
                        f"{part!r} on the way to {'/' + path.strip('/')!r} in {self.where} is "
                        f"{kinds.get(kind, 'an external link')}, "
                        "which is not followed. Copy the values into one file, for instance "
                        "with h5repack."
                    )
                target = here.id.links.get_val(key).decode("utf-8", "surrogateescape")
                pending += _parts(target)
                if target.startswith("/"):
                    steps.append(root)
        return steps


def _parts(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


@contextmanager
def open_hdf5(path: Path, selection: Selection) -> Iterator[Contents]:
    """An HDF5 file as ``Contents``, opened read-only."""
    with damage_as_data_error(str(path), "an HDF5 file"):
        file = h5py.File(path, "r")
    with file:
        yield Hdf5Contents(str(path), file, selection)
