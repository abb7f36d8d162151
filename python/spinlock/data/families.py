"""Which columns of a table each family of a data set fills."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spinlock.data.encoders import Encoder, find_encoder
from spinlock.data.selection import Selection
from spinlock.data.sources import ArraySource, Contents, FamilySource, check_width
from spinlock.data.table import (
    check_characters,
    check_name,
    listed,
    qualified_name,
    require_numeric,
)
from spinlock.errors import DataConfigError, DataError


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
class Part:
    """A family on its way into columns start..start+len(names)-1 of the table.

    Attributes:
        family: its name.
        source: where its arrays lie.
        encoder: what makes columns of them.
        start: the first column that it fills.
        names: the columns that it fills.
        num_encoded: columns that the encoder makes.
        chosen: which of these are kept, indices; None: all.
    """

    family: str
    source: FamilySource
    encoder: Encoder
    start: int
    names: tuple[str, ...]
    num_encoded: int
    chosen: NDArray[np.int64] | None = None

    def over(self, columns: NDArray[np.int64]) -> "Part":
        """The same part reading these columns of its array's last axis."""
        return replace(self, source=replace(self.source, columns=columns))


def plan_parts(
    contents: Contents, families: Mapping[str, FamilyEntry] | None, selection: Selection
) -> list[Part]:
    """Which columns of the table each family fills; reads headers and names, no features.

    Raises:
        DataConfigError: families or columns to exclude that are not there, an unknown encoder, or
            no column left.
        DataError: families of different row counts, or that cannot be used.
    """
    wanted = dict.fromkeys(contents.family_names()) if families is None else families
    if not wanted:
        kind = DataError if families is None else DataConfigError
        raise kind(
            f"{contents.where} offers no families to load; if it holds arrays elsewhere, name "
            "one by families.<family>.path."
            if families is None
            else f"families is empty; {contents.where} offers: {listed(contents.family_names())}."
        )
    parts: list[Part] = []
    every_name: list[str] = []
    start, rows = 0, {}
    for family, entry in wanted.items():
        _check_names(contents.where, family, ())
        spec = _as_spec(family, entry)
        source = _find(contents, family, spec, selection)
        shape = _checked_shape(source.array, family)
        encoder = find_encoder(spec.encoder, len(shape), family)
        part = _part(family, source, encoder, start, shape)
        every_name += part.names
        kept = [i for i, name in enumerate(part.names) if not selection.excludes(name)]
        _check_names(contents.where, family, [part.names[i] for i in kept])
        rows[family] = shape[0]
        if kept:
            parts.append(part if len(kept) == len(part.names) else _without_others(part, kept))
            start += len(kept)
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{family} has {count:,}" for family, count in list(rows.items())[:20])
        raise DataError(
            f"the families of {contents.where} disagree about the number of rows: {counts}. Every "
            "family must describe the same rows; name those that do under families."
        )
    selection.require_used(contents.where, every_name)
    if not parts:
        raise DataConfigError(
            f"exclude_columns leaves no column of {contents.where}; exclude fewer."
        )
    check_width(contents.where, start)
    return parts


def _part(
    family: str, source: FamilySource, encoder: Encoder, start: int, shape: tuple[int, ...]
) -> Part:
    steps = shape[1] if len(shape) == 3 else 1
    check_width(f"family {family!r}", source.num_features * steps)
    bare = source.feature_names or tuple(str(i) for i in range(source.num_features))
    names = tuple(qualified_name(family, name) for name in encoder.column_names(bare, steps))
    return Part(family, source, encoder, start, names, num_encoded=len(names))


def _without_others(part: Part, kept: list[int]) -> Part:
    """The part with the kept ones of its columns; what ``identity`` would copy is not even read."""
    chosen = np.asarray(kept, dtype=np.int64)
    names = tuple(part.names[i] for i in kept)
    if part.encoder.name != "identity":
        return replace(part, names=names, chosen=chosen)
    columns = part.source.columns
    part = part.over(chosen if columns is None else columns[chosen])
    return replace(part, names=names, num_encoded=len(names))


def _check_names(where: str, family: str, names: Sequence[str]) -> None:
    try:
        check_characters(family)
        for name in names:
            check_name(name, family)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _as_spec(family: str, entry: FamilyEntry) -> FamilyLike:
    if entry is None:
        return FamilySpec()
    if not isinstance(entry, Mapping):
        return entry
    unknown = sorted(entry.keys() - {"path", "encoder"})
    if unknown:
        raise DataConfigError(
            f"families.{family} has unknown keys: {listed(unknown)}; known: path, encoder."
        )
    return FamilySpec(**entry)


def _find(contents: Contents, family: str, spec: FamilyLike, selection: Selection) -> FamilySource:
    if spec.path is not None:
        return contents.at(spec.path, family)
    source = contents.family(family)
    if source is None:
        known = contents.family_names()
        close = difflib.get_close_matches(family, known, n=1)
        # Where a trained model asks, its configuration is right and the data are others.
        kind = DataConfigError if selection.required else DataError
        raise kind(
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
        raise DataError(
            f"{array.what} is empty: shape {list(array.shape)}; expected at least one row and one "
            "column. Name a data set that holds rows, or leave the family out (families)."
        )
    return array.shape
