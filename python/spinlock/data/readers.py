"""``load_table``: any data set, in a file or built in, as one ``FeatureTable``."""

import difflib
import importlib
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spinlock.data.builtin import PREFIX, open_builtin
from spinlock.data.encoders import Encoder, find_encoder
from spinlock.data.sampling import sample_rows
from spinlock.data.sources import (
    ArraySource,
    Contents,
    FamilySource,
    check_memory,
    check_width,
    num_bytes,
)
from spinlock.data.table import (
    FeatureTable,
    check_characters,
    listed,
    qualified_name,
    require_numeric,
)
from spinlock.errors import DataError

BLOCK_BYTES = 1 << 23
_FLOAT32_MAX = float(np.finfo(np.float32).max)

# Extension -> (module, function) that opens it; modules load on use, so that NPZ needs no h5py.
FORMATS = {
    ".npz": ("spinlock.data.npz", "open_npz"),
    ".npy": ("spinlock.data.npz", "open_npy"),
    ".h5": ("spinlock.data.hdf5", "open_hdf5"),
    ".hdf5": ("spinlock.data.hdf5", "open_hdf5"),
}


class FamilyLike(Protocol):
    """What an entry of ``families`` must offer; ``FamilySpec`` does."""

    @property
    def path(self) -> str | None: ...
    @property
    def encoder(self) -> str | None: ...


@dataclass(frozen=True)
class FamilySpec:
    """One family to load.

    Attributes:
        path: the array's name in an ``.npz``, or the data set's path in an HDF5 file; None: the
            family's usual place in its format.
        encoder: how its arrays become columns; None: ``identity`` for [N, D],
            ``temporal_summary`` for [N, T, D].
    """

    path: str | None = None
    encoder: str | None = None


FamilyEntry = FamilyLike | Mapping[str, str | None] | None


@dataclass(frozen=True, eq=False)
class _Part:
    """A family on its way into columns start..start+len(names)-1 of the table."""

    family: str
    source: FamilySource
    encoder: Encoder
    start: int
    names: tuple[str, ...]


def load_table(
    dataset_path: str | os.PathLike[str],
    families: Mapping[str, FamilyEntry] | None = None,
    max_samples: int | None = None,
    seed: int = 0,
) -> FeatureTable:
    """Read a data set; docs/formats.md describes the formats.

    Args:
        dataset_path: a ``.npz``, ``.npy``, ``.h5`` or ``.hdf5`` file, or ``builtin:<name>``.
        families: the families to load, in this order, each with a ``FamilySpec`` (or a mapping
            with its keys, or None for its defaults); None: all that the data set has.
        max_samples: at most this many rows: a uniform sample drawn with ``seed``, kept in the
            order of the file; the sample of n rows contains that of any m < n rows.
        seed: of that sample only; built-in data sets are the same for every seed.

    Returns:
        Features as float32, column names ``family::name``, the labels where there are any. A
        family's columns stand together, families in the order asked for, else of the data set.

    Raises:
        DataError: anything about the data set that cannot be used, in one readable message.

    >>> table = load_table("builtin:digits", {"moments": FamilySpec()}, max_samples=100)
    >>> table.num_rows, table.names[0]
    (100, 'moments::raw_0_0')
    """
    if max_samples is not None and max_samples < 1:
        raise DataError(f"max_samples is {max_samples}; expected at least 1, or none for all rows.")
    with _open(os.fspath(dataset_path)) as contents:
        parts = _plan(contents, families)
        return _assemble(contents, parts, max_samples, seed)


def _open(dataset_path: str) -> AbstractContextManager[Contents]:
    if dataset_path.startswith(PREFIX):
        return open_builtin(dataset_path)
    path = Path(dataset_path)
    if path.suffix.lower() not in FORMATS:
        raise DataError(
            f"dataset_path {dataset_path!r} has extension {path.suffix!r}; known: "
            f"{', '.join(FORMATS)}, and the built-in sets, '{PREFIX}<name>'. A table of another "
            "format becomes one by numpy.savez(path, features=..., feature_names=...)."
        )
    try:
        path = path.expanduser()
        exists, regular = path.exists(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"dataset_path {dataset_path!r} cannot be opened: {error}.") from error
    if not exists:
        where = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        raise DataError(f"dataset_path {dataset_path!r}: there is no such file{where}.")
    if not regular:
        raise DataError(f"dataset_path {dataset_path!r} is not a regular file.")
    module, function = FORMATS[path.suffix.lower()]
    opener: Callable[[Path], AbstractContextManager[Contents]] = getattr(
        importlib.import_module(module), function
    )
    return opener(path)


def _plan(contents: Contents, families: Mapping[str, FamilyEntry] | None) -> list[_Part]:
    """Which columns of the table each family fills; reads headers and names, no features."""
    wanted = dict.fromkeys(contents.family_names()) if families is None else families
    if not wanted:
        raise DataError(
            f"{contents.where} offers no families to load; if it holds arrays elsewhere, name "
            "one by families.<family>.path."
            if families is None
            else f"families is empty; {contents.where} offers: {listed(contents.family_names())}."
        )
    parts: list[_Part] = []
    start, rows = 0, {}
    for family, entry in wanted.items():
        check_characters(family)
        spec = _as_spec(family, entry)
        source = _find(contents, family, spec)
        shape = _checked_shape(source.array, family)
        encoder = find_encoder(spec.encoder, len(shape), family)
        steps = shape[1] if len(shape) == 3 else 1
        check_width(f"family {family!r}", source.num_features * steps)
        bare = source.feature_names or tuple(str(i) for i in range(source.num_features))
        names = tuple(qualified_name(family, name) for name in encoder.column_names(bare, steps))
        parts.append(_Part(family, source, encoder, start, names))
        start += len(names)
        rows[family] = shape[0]
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{family} has {count:,}" for family, count in list(rows.items())[:20])
        raise DataError(
            f"the families of {contents.where} disagree about the number of rows: {counts}. Every "
            "family must describe the same rows; name those that do under families."
        )
    check_width(contents.where, start)
    return parts


def _as_spec(family: str, entry: FamilyEntry) -> FamilyLike:
    if entry is None:
        return FamilySpec()
    if not isinstance(entry, Mapping):
        return entry
    unknown = sorted(entry.keys() - {"path", "encoder"})
    if unknown:
        raise DataError(
            f"families.{family} has unknown keys: {listed(unknown)}; known: path, encoder."
        )
    return FamilySpec(**entry)


def _find(contents: Contents, family: str, spec: FamilyLike) -> FamilySource:
    if spec.path is not None:
        return contents.at(spec.path, family)
    source = contents.family(family)
    if source is None:
        known = contents.family_names()
        close = difflib.get_close_matches(family, known, n=1)
        raise DataError(
            f"{contents.where} has no family {family!r}"
            f"{f'; did you mean {close[0]!r}?' if close else '.'} It offers: {listed(known)}. "
            f"families.{family}.path can name any array in a file."
        )
    return source


def _checked_shape(array: ArraySource, family: str) -> tuple[int, ...]:
    require_numeric(array.dtype, array.what)
    if len(array.shape) not in (2, 3):
        raise DataError(
            f"{array.what} has shape {list(array.shape)}; family {family!r} needs [N, D] features "
            "or [N, T, D] series. Reshape it, or name the families to load under families."
        )
    if 0 in array.shape:
        raise DataError(f"{array.what} is empty: shape {list(array.shape)}.")
    return array.shape


def _assemble(
    contents: Contents, parts: list[_Part], max_samples: int | None, seed: int
) -> FeatureTable:
    num_rows = parts[0].source.array.shape[0]
    names = tuple(name for part in parts for name in part.names)
    check_memory(contents.where, num_bytes((min(num_rows, max_samples or num_rows), len(names)), 4))
    selected = None
    if max_samples is not None and max_samples < num_rows:
        selected = sample_rows(num_rows, max_samples, seed)
    features = np.empty((num_rows if selected is None else len(selected), len(names)), np.float32)

    sharing: dict[int, list[_Part]] = {}
    for part in parts:
        sharing.setdefault(id(part.source.array), []).append(part)
    for together in sharing.values():
        _fill(features, selected, together)

    labels = contents.labels()
    if labels is not None and labels.shape != (num_rows,):
        raise DataError(
            f"the labels of {contents.where} have shape {list(labels.shape)}; expected one per "
            f"row, [{num_rows}]."
        )
    return FeatureTable(
        features=features,
        names=names,
        families=tuple(part.family for part in parts for _ in part.names),
        labels=labels if labels is None or selected is None else labels[selected],
    )


def _fill(
    features: NDArray[np.float32], selected: NDArray[np.int64] | None, parts: list[_Part]
) -> None:
    """Stream the one array that ``parts`` share through their encoders into ``features``."""
    array = parts[0].source.array
    per_row = max(1, num_bytes(array.shape[1:], 8))
    start = filled = 0
    for block in array.blocks(max(1, BLOCK_BYTES // per_row)):
        stop = start + len(block)
        if selected is not None:
            low, high = np.searchsorted(selected, (start, stop))
            block = block[selected[low:high] - start]
        start = stop
        if len(block) == 0:
            continue
        for part in parts:
            columns = part.source.columns
            encoded = part.encoder.encode(
                _as_float64(block if columns is None else block[..., columns])
            )
            if encoded.shape != (len(block), len(part.names)):
                raise DataError(
                    f"encoder '{part.encoder.name}' returned shape {list(encoded.shape)} for family"
                    f" {part.family!r}; its column names promise {[len(block), len(part.names)]}."
                )
            with np.errstate(over="ignore"):
                features[
                    filled : filled + len(block), part.start : part.start + len(part.names)
                ] = encoded
        filled += len(block)
    if filled != len(features):
        raise DataError(f"{array.what} ended after {start} rows; it shrank while it was read.")


def _as_float64(block: NDArray[Any]) -> NDArray[np.float64]:
    """Float64, with infinities for what float32 cannot hold: encoders see what a table would."""
    values = block.astype(np.float64)
    beyond = np.abs(values) > _FLOAT32_MAX
    if beyond.any():
        values[beyond] = np.copysign(np.inf, values[beyond])
    return values
