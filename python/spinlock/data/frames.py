"""What people hold in memory, DataFrames, arrays, lists, as a matrix with names, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.frame_columns import (
    NotNumbers,
    arrow_column,
    numpy_column,
    pandas_column,
    polars_column,
)
from spinlock.data.table import SEPARATOR, FeatureTable, listed
from spinlock.errors import DataError

# The family of a column whose name carries none; also that of a matrix in a file.
FAMILY = "features"


class ColumnTypeError(DataError, TypeError):
    """Columns or names of a type that features cannot have."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A matrix and the names of its columns.

    Attributes:
        values: float32 [N, D], C-contiguous; NaN where a value is missing.
        names: as the user wrote them; None where the columns have none.
    """

    values: NDArray[np.float32]
    names: tuple[str, ...] | None

    @property
    def column_names(self) -> tuple[str, ...]:
        """``family::name`` of each column.

        Raises:
            DataError: two columns of one name.
        """
        return qualified_names(self.names, self.values.shape[1])

    def table(self) -> FeatureTable:
        """The same as a ``FeatureTable``.

        Raises:
            DataError: names that are empty, repeated or unprintable.
        """
        names = self.column_names
        families = tuple(name.partition(SEPARATOR)[0] for name in names)
        return FeatureTable(self.values, names, families)


def read_frame(data: Any) -> Frame:
    """A DataFrame (pandas, polars), a pyarrow Table, a ``FeatureTable``, an array or lists.

    Booleans become 0 and 1; ``None``, ``pd.NA``, nulls and masked values NaN; numbers beyond
    float32's range infinite, which cleaning treats as missing.

    Raises:
        DataError: not two-dimensional, no columns, or columns that hold no numbers, all of them
            named with what to do.

    >>> frame = read_frame([[1, True], [None, 2.5]])
    >>> frame.values.tolist(), frame.names, frame.column_names
    ([[1.0, 1.0], [nan, 2.5]], None, ('features::0', 'features::1'))
    """
    if isinstance(data, FeatureTable):
        return Frame(data.features, data.names)
    library = type(data).__module__.partition(".")[0]
    kind = type(data).__name__
    if library == "pandas" and kind != "Series" and hasattr(data, "iloc"):
        names = user_names(data.columns)
        return _read((data.iloc[:, j] for j in range(data.shape[1])), data.shape, names,
                     pandas_column, list(data.columns))  # fmt: skip
    if library == "polars" and kind == "LazyFrame":
        raise DataError("got a polars LazyFrame, which holds no rows yet: call collect() first")
    if library == "polars" and kind == "DataFrame":
        names = tuple(data.columns)
        return _read(data.iter_columns(), data.shape, names, polars_column, names)
    if library == "pyarrow" and hasattr(data, "column_names"):
        names, shape = tuple(data.column_names), (data.num_rows, data.num_columns)
        columns = (data.column(j) for j in range(shape[1]))
        return _read(columns, shape, names, arrow_column, names)
    return _read_array(data)


def qualified_names(names: Sequence[str] | None, num_columns: int) -> tuple[str, ...]:
    """``family::name`` for names as a user writes them; without a family it is ``features``.

    >>> qualified_names(["age", "blood::iron"], 2), qualified_names(None, 2)
    (('features::age', 'blood::iron'), ('features::0', 'features::1'))
    """
    if names is None:
        return tuple(f"{FAMILY}{SEPARATOR}{column}" for column in range(num_columns))
    found = tuple(n if all(_parts(n)) else f"{FAMILY}{SEPARATOR}{n}" for n in names)
    repeated = [name for name, count in Counter(found).items() if count > 1]
    if repeated:
        raise DataError(
            f"column names must be unique; given more than once: {listed(repeated)}. Rename or "
            "drop the repeated columns."
        )
    return found


def user_name(name: str) -> str:
    """``family::name`` without a family that a user need not write.

    >>> user_name("features::age"), user_name("blood::iron")
    ('age', 'blood::iron')
    """
    family, rest = _parts(name)
    return rest if family == FAMILY and not all(_parts(rest)) else name


def user_names(columns: Iterable[Any]) -> tuple[str, ...] | None:
    """Column names if all are text, None if none is, as scikit-learn has it.

    Raises:
        DataError: some are text and some are not.
    """
    given = list(columns)
    texts = [isinstance(name, str) for name in given]
    if any(texts) and not all(texts):
        kinds = sorted({type(name).__qualname__ for name in given})
        raise ColumnTypeError(
            "Feature names are only supported if all input features have string names, but the "
            f"input has {kinds} as feature name / column name types: convert them with "
            "X.columns = X.columns.astype(str)"
        )
    return tuple(str(name) for name in given) if given and all(texts) else None


def check_shape(shape: Sequence[int], what: str = "array") -> None:
    """Refuses what is not [rows, columns] with at least one column.

    Raises:
        DataError: in the words that scikit-learn's users know.
    """
    if len(shape) != 2:
        raise DataError(
            f"Expected 2D array, got {len(shape)}D array instead (shape={tuple(shape)}). Reshape "
            "your data either using array.reshape(-1, 1) if it has a single feature or "
            "array.reshape(1, -1) if it contains a single sample."
        )
    if shape[1] == 0:
        raise DataError(
            f"Found {what} with 0 feature(s) (shape={tuple(shape)}) while a minimum of 1 is "
            "required."
        )


def _parts(name: str) -> tuple[str, str]:
    family, _, rest = name.partition(SEPARATOR)
    return family, rest


def _read_array(data: Any) -> Frame:
    if type(data).__module__.startswith("scipy.sparse"):
        raise DataError(
            "Sparse data was passed, but dense data is required: convert it with X.toarray()"
        )
    if isinstance(data, np.ma.MaskedArray):
        data = _unmasked(data)
    try:
        array = np.asarray(data)
        if array.dtype.kind in "US" and not hasattr(data, "dtype"):
            # A list that mixes numbers and text became text throughout.
            array = np.asarray(data, dtype=object)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"cannot read {type(data).__name__} as rows and columns of numbers ({error}): give a "
            "DataFrame, a 2D array, or lists of equal length"
        ) from error
    if array.dtype.kind == "c":
        raise DataError(
            "Complex data not supported: give real and imaginary parts as columns of their own"
        )
    check_shape(array.shape)
    if array.dtype.kind in "biuf":
        with np.errstate(over="ignore"):
            return Frame(np.ascontiguousarray(array, dtype=np.float32), None)
    columns = (array[:, j] for j in range(array.shape[1]))
    return _read(columns, array.shape, None, numpy_column, list(range(array.shape[1])))


def _unmasked(data: Any) -> Any:
    return data.astype(object if data.dtype.kind not in "biuf" else np.float64).filled(np.nan)


def _read(
    columns: Iterable[Any],
    shape: tuple[int, int],
    names: tuple[str, ...] | None,
    convert: Callable[[Any], NDArray[np.float64]],
    labels: Sequence[Any],
) -> Frame:
    check_shape(shape, "a table")
    values = np.empty(shape, dtype=np.float32)
    refused: list[str] = []
    for position, column in enumerate(columns):
        try:
            with np.errstate(over="ignore"):
                values[:, position] = convert(column)
        except NotNumbers as reason:
            label = labels[position]
            name = f"'{label}'" if isinstance(label, str) else f"column {label}"
            refused.append(f"{name} ({reason})")
    if refused:
        raise ColumnTypeError(
            f"columns that hold no numbers: {listed(refused)}. Turn categories and text into one "
            "column each with pandas.get_dummies(X, columns=[..]) or a OneHotEncoder in a "
            "ColumnTransformer, into ordinal codes with an OrdinalEncoder where they have an "
            "order, dates into days since one of them; or drop these columns."
        )
    return Frame(values, names)
