"""Columns of any library as float64 with NaN for what is missing, or the reason why they cannot be.

Nothing here imports pandas, polars or pyarrow: a column comes with its library loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_KINDS = {"U": "text", "S": "text", "T": "text", "M": "dates", "m": "time spans", "V": "records"}
_SHOWN = 24


class NotNumbers(Exception):
    """A column holds something else; the text says what."""


def numpy_column(values: NDArray[Any]) -> Floats:
    """A column of a numpy matrix, any dtype.

    Raises:
        NotNumbers: text, dates, or objects that are no numbers.

    >>> numpy_column(np.array([1, None, True], dtype=object)).tolist()
    [1.0, nan, 1.0]
    """
    if values.dtype.kind == "O":
        return _from_objects(values)
    if values.dtype.kind in _KINDS:
        kind = values.dtype.kind
        raise NotNumbers(_KINDS[kind] + (_example(values) if kind in "UST" else ""))
    return values.astype(np.float64)


def pandas_column(series: Any) -> Floats:
    """A pandas Series: numpy, nullable, Arrow-backed and sparse dtypes; ``pd.NA`` becomes NaN.

    Raises:
        NotNumbers: as :func:`numpy_column`, and categories, whatever they are.
    """
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return numpy_column(series.to_numpy())
    if hasattr(dtype, "categories"):
        raise NotNumbers("categories" + _example(dtype.categories))
    kind = getattr(dtype, "kind", "O")
    if kind in "biuf":
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)
    if kind in _KINDS:
        raise NotNumbers(_KINDS[kind])
    return _from_objects(series.to_numpy(dtype=object))


def polars_column(series: Any) -> Floats:
    """A polars Series; nulls become NaN.

    Raises:
        NotNumbers: neither numeric nor Boolean.
    """
    name = str(series.dtype)
    if series.dtype.is_numeric() or name in ("Boolean", "Null"):
        return np.asarray(series.cast(float).to_numpy(), dtype=np.float64)
    kind = name.partition("(")[0]
    words = {"String": "text", "Utf8": "text", "Categorical": "categories", "Enum": "categories"}
    words |= dict.fromkeys(("Date", "Datetime", "Time"), "dates") | {"Duration": "time spans"}
    what = words.get(kind, name)
    known = series.drop_nulls().head(1).to_list() if what in ("text", "categories") else []
    raise NotNumbers(what + _example(known))


def arrow_column(column: Any) -> Floats:
    """A pyarrow ChunkedArray or Array; nulls become NaN.

    Raises:
        NotNumbers: neither numeric nor Boolean.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.uint8()), pa.uint8()
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if number or pa.types.is_null(kind):
        floats = column.cast(pa.float64(), safe=False)
        array = floats.to_numpy() if hasattr(floats, "chunks") else floats.to_numpy(False)
        return np.asarray(array, dtype=np.float64)
    if pa.types.is_dictionary(kind):
        raise NotNumbers("categories")
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if text:
        raise NotNumbers("text" + _example(column.drop_null()[:1].to_pylist()))
    raise NotNumbers("dates" if pa.types.is_temporal(kind) else str(kind))


def _from_objects(values: NDArray[Any]) -> Floats:
    found = np.empty(len(values), dtype=np.float64)
    for row, value in enumerate(values):
        if value is None or type(value).__name__ in ("NAType", "NaTType"):
            found[row] = np.nan
        elif isinstance(value, str | bytes):
            raise NotNumbers("text" + _example([value]))
        else:
            try:
                found[row] = float(value)
            except (TypeError, ValueError, OverflowError) as error:
                raise NotNumbers(f"{type(value).__name__}: {error}") from error
    return found


def _example(values: Sequence[Any] | NDArray[Any]) -> str:
    if len(values) == 0:
        return ""
    text = str(values[0])
    return f", such as {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'!r}"
