"""``FeatureTable``: the one form in which every data set reaches the rest of the pipeline."""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.errors import DataError

SEPARATOR = "::"

_NOT_NUMBERS = {
    "O": "Python objects",
    "U": "text",
    "S": "text",
    "T": "text",
    "c": "complex numbers",
    "M": "dates",
    "m": "time spans",
    "V": "records",
}


def qualified_name(family: str, name: str) -> str:
    """The column name ``family::name``; a name that already carries its family stays as it is.

    >>> qualified_name("fourier", "ring0"), qualified_name("fourier", "fourier::ring0")
    ('fourier::ring0', 'fourier::ring0')
    """
    prefix = family + SEPARATOR
    return name if name.startswith(prefix) else prefix + name


def schema_fingerprint(names: Sequence[str], dtype: str = "float32") -> str:
    """SHA-256 (64 hex digits) of the column names in their order and of their dtype.

    Two tables can share a model if and only if their fingerprints are equal.

    >>> schema_fingerprint(["a::x", "a::y"])[:16], schema_fingerprint(["a::y", "a::x"])[:16]
    ('e41e8ad0f67914e0', '85768c93149b27dc')
    """
    schema = json.dumps({"dtype": dtype, "names": list(names)}, separators=(",", ":"))
    return hashlib.sha256(schema.encode("ascii")).hexdigest()


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for a message, quoted where they hold unprintable characters, the first ``most``.

    >>> listed(["a", "b", "c"], most=2), listed([])
    ('a, b, ... (3 in all)', 'none')
    """
    shown = [name if name.isprintable() else repr(name) for name in names[:most]]
    if len(names) > most:
        shown.append(f"... ({len(names)} in all)")
    return ", ".join(shown) or "none"


def check_name(name: str, family: str) -> None:
    """Refuse a column name that is not ``family::name``, or could not be printed or stored."""
    prefix = family + SEPARATOR
    if not family or not name.startswith(prefix) or name == prefix:
        raise DataError(
            f"column {name!r} of family {family!r} is misnamed; column names have the form "
            f"'family{SEPARATOR}name' with neither part empty."
        )
    check_characters(name)


def check_characters(name: str) -> None:
    """Refuse a family or column name that could not be printed or stored safely."""
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise DataError(f"name {name!r} contains control characters or broken Unicode; rename it.")


def require_numeric(dtype: np.dtype[Any], what: str) -> None:
    """Raise a DataError that names ``what`` unless ``dtype`` is bool, integer or real float."""
    if dtype.kind not in "biuf":
        raise DataError(
            f"{what} holds {_NOT_NUMBERS.get(dtype.kind, 'values')} (dtype {dtype}); features "
            "must be numbers: encode these columns as integers or floats, or leave them out."
        )


def as_float32(values: ArrayLike, what: str) -> NDArray[np.float32]:
    """Bool, integer or real values as C-contiguous float32; no copy where they are that already.

    Values beyond float32's range (3.4e38) become infinite, so that they count as non-finite and
    are treated as such by cleaning; integers beyond 2**24 are rounded.

    Raises:
        DataError: ``values`` are text, objects, complex, dates or records; names ``what``.
    """
    array = np.asarray(values)
    require_numeric(array.dtype, what)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


@dataclass(frozen=True, eq=False, repr=False)
class FeatureTable:
    """N rows of D named numeric columns, each belonging to one family.

    Attributes:
        features: float32 [N, D], C-contiguous, read-only; NaN and infinities may occur. Numbers
            of other dtypes are converted by ``as_float32``.
        names: D unique column names, ``family::name``.
        families: the family of each column, D entries.
        labels: [N] numbers or text for downstream checks, never shown to a model; or None.

    Raises:
        DataError: shapes, names, families and labels that do not fit together.

    >>> table = FeatureTable(
    ...     features=np.array([[0.5, 10.0, 3.0], [0.25, 20.0, 4.0]]),
    ...     names=("shape::area", "shape::width", "colour::red"),
    ...     families=("shape", "shape", "colour"),
    ... )
    >>> table
    FeatureTable(2 rows, 3 features: shape: 2, colour: 1)
    >>> table.take_columns([2]).names, table.take_rows([1]).features.tolist()
    (('colour::red',), [[0.25, 20.0, 4.0]])
    """

    features: NDArray[np.float32]
    names: tuple[str, ...]
    families: tuple[str, ...]
    labels: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        values = as_float32(self.features, "the feature matrix")
        if values.ndim != 2 or values.shape[1] == 0:
            raise DataError(
                f"the feature matrix has shape {list(values.shape)}; expected [rows, columns] with "
                "at least one column. Turn [N, T, D] series into columns with an encoder first."
            )
        object.__setattr__(self, "features", _read_only(values))
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        object.__setattr__(self, "families", tuple(str(family) for family in self.families))
        _check_names(self.names, self.families, values.shape[1])
        if self.labels is not None:
            object.__setattr__(self, "labels", _checked_labels(self.labels, values.shape[0]))

    def __repr__(self) -> str:
        counts = Counter(self.families)
        shown = ", ".join(f"{family}: {count}" for family, count in list(counts.items())[:10])
        more = ", ..." if len(counts) > 10 else ""
        return f"FeatureTable({self.num_rows} rows, {self.num_features} features: {shown}{more})"

    @classmethod
    def from_families(
        cls, arrays: Mapping[str, ArrayLike], labels: ArrayLike | None = None
    ) -> "FeatureTable":
        """A table from ``{family: [N, D]}``; columns are named ``family::0``, ``family::1``, ...

        >>> FeatureTable.from_families({"a": np.zeros((2, 2)), "b": np.ones((2, 1))}).names
        ('a::0', 'a::1', 'b::0')
        """
        blocks = {
            family: as_float32(array, f"family '{family}'") for family, array in arrays.items()
        }
        shapes = {family: block.shape for family, block in blocks.items()}
        rows = {shape[0] for shape in shapes.values() if len(shape) == 2}
        if len(rows) != 1 or any(len(shape) != 2 for shape in shapes.values()):
            raise DataError(
                f"families must be [N, D] matrices of one common row count; their shapes: {shapes}."
            )
        widths = {family: block.shape[1] for family, block in blocks.items()}
        return cls(
            features=np.concatenate(list(blocks.values()), axis=1),
            names=tuple(f"{f}{SEPARATOR}{i}" for f, width in widths.items() for i in range(width)),
            families=tuple(family for family, width in widths.items() for _ in range(width)),
            labels=None if labels is None else np.asarray(labels),
        )

    @property
    def num_rows(self) -> int:
        """N."""
        return int(self.features.shape[0])

    @property
    def num_features(self) -> int:
        """D."""
        return int(self.features.shape[1])

    @property
    def family_names(self) -> tuple[str, ...]:
        """The distinct families, in order of first appearance."""
        return tuple(dict.fromkeys(self.families))

    @property
    def fingerprint(self) -> str:
        """``schema_fingerprint`` of this table's columns."""
        return schema_fingerprint(self.names, str(self.features.dtype))

    def take_rows(self, rows: ArrayLike) -> "FeatureTable":
        """The given rows (integer indices or a boolean mask [N]), in the given order, copied."""
        index = _as_index(rows, self.num_rows, "row")
        labels = None if self.labels is None else self.labels[index]
        return FeatureTable(self.features[index], self.names, self.families, labels)

    def take_columns(self, columns: ArrayLike) -> "FeatureTable":
        """The given columns (integer indices or a boolean mask [D]), in the given order, copied."""
        index = _as_index(columns, self.num_features, "column")
        return FeatureTable(
            self.features[:, index],
            tuple(self.names[i] for i in index),
            tuple(self.families[i] for i in index),
            self.labels,
        )

    def blocks(self, rows: int = 65_536) -> Iterator[NDArray[np.float32]]:
        """Views of at most ``rows`` consecutive rows, [n, D], which cover the table in order.

        >>> table = FeatureTable.from_families({"a": np.zeros((5, 1))})
        >>> [len(block) for block in table.blocks(rows=2)]
        [2, 2, 1]
        """
        if rows < 1:
            raise DataError(f"a block needs at least 1 row, got rows={rows}.")
        for start in range(0, self.num_rows, rows):
            yield self.features[start : start + rows]


def _read_only(values: NDArray[Any]) -> NDArray[Any]:
    view = values.view()
    view.flags.writeable = False
    return view


def _checked_labels(labels: NDArray[Any], num_rows: int) -> NDArray[Any]:
    array = np.asarray(labels)
    if array.ndim != 1 or array.shape[0] != num_rows:
        raise DataError(
            f"labels have shape {list(array.shape)}; expected one per row, [{num_rows}]."
        )
    if array.dtype.hasobject or array.dtype.kind == "V":
        raise DataError(f"labels have dtype {array.dtype}; expected numbers or fixed-width text.")
    return _read_only(np.ascontiguousarray(array))


def _check_names(names: tuple[str, ...], families: tuple[str, ...], num_features: int) -> None:
    if len(names) != num_features or len(families) != num_features:
        raise DataError(
            f"the feature matrix has {num_features} columns, but {len(names)} names and "
            f"{len(families)} families were given; each column needs one of both."
        )
    for name, family in zip(names, families, strict=True):
        check_name(name, family)
    if len(set(names)) != len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise DataError(
            f"column names must be unique; given more than once: {listed(twice)}. Rename or drop "
            "the repeated columns."
        )


def _as_index(selection: ArrayLike, size: int, what: str) -> NDArray[np.int64]:
    index = np.asarray(selection)
    if index.dtype == np.bool_ and index.shape == (size,):
        return np.flatnonzero(index).astype(np.int64)
    if index.size == 0 and index.ndim == 1:
        return np.zeros(0, dtype=np.int64)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise DataError(
            f"{what}s are selected by a list of integers or a mask of {size} booleans; got "
            f"an array of shape {list(index.shape)} and dtype {index.dtype}."
        )
    if index.min() < 0 or index.max() >= size:
        raise DataError(
            f"{what} index out of range: the table has {what}s 0 to {size - 1}, asked for "
            f"{int(index.min())} to {int(index.max())}."
        )
    return index.astype(np.int64)
