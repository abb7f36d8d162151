"""What the fitted transformers accept: a matrix with names beside it, a table, a DataFrame."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.data.table import SEPARATOR, FeatureTable, listed, require_numeric
from spinlock.errors import CheckpointError, DataError

State = Mapping[str, Any]


def matrix_of(data: Any) -> NDArray[Any]:
    """The [N, D] matrix of a table, a DataFrame, or ``data`` itself.

    Raises:
        DataError: not a matrix of numbers, or one without columns.
    """
    features = np.asarray(data.features if isinstance(data, FeatureTable) else data)
    require_numeric(features.dtype, "the feature matrix")
    if features.ndim != 2 or features.shape[1] == 0:
        raise DataError(
            f"the feature matrix has shape {list(features.shape)}; expected [rows, columns] with "
            "at least one column."
        )
    return features


def own_names(data: Any) -> tuple[str, ...] | None:
    """The names that a table or a DataFrame gives its columns; None unless all are text."""
    names = data.names if isinstance(data, FeatureTable) else getattr(data, "columns", None)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return tuple(str(name) for name in names)


def names_of(data: Any, names: Sequence[str] | None, num_features: int) -> tuple[str, ...]:
    """``names``, or those of ``data``, or ``x0``, ``x1``, ...; one per column and unique.

    >>> names_of(np.zeros((1, 2)), None, 2)
    ('x0', 'x1')
    """
    found = names if names is not None else own_names(data)
    if found is None:
        return _numbered(num_features)
    result = tuple(str(name) for name in found)
    if len(result) != num_features or len(set(result)) != num_features:
        raise DataError(
            f"{num_features} columns need as many different names; got {len(result)} names, "
            f"{len(set(result))} of them different."
        )
    return result


def input_names(names: Sequence[str], given: ArrayLike | None) -> NDArray[Any]:
    """The names of a fitted step's input columns, an object array [D]; as ``given`` if it had none.

    Raises:
        DataError: ``given`` are other names than those the step was fitted on.

    >>> input_names(("x0", "x1"), ["a", "b"]).tolist(), input_names(("a", "b"), None).tolist()
    (['a', 'b'], ['a', 'b'])
    """
    result = np.array(names if given is None else [str(n) for n in np.asarray(given)], dtype=object)
    named = tuple(names) != _numbered(len(names))
    if len(result) != len(names) or (named and list(result) != list(names)):
        raise DataError(
            f"input_features are {len(result)} names, {listed(list(result))}; the step was fitted "
            f"on {len(names)}: {listed(names)}."
        )
    return result


def _numbered(num_features: int) -> tuple[str, ...]:
    return tuple(f"x{column}" for column in range(num_features))


def families_of(
    data: Any, families: Sequence[str] | None, names: Sequence[str]
) -> tuple[str, ...] | None:
    """``families``, or ``data.families``, or what stands before ``::`` in each name, or None."""
    own = data.families if isinstance(data, FeatureTable) else None
    found = families if families is not None else own
    if found is None:
        split = [name.split(SEPARATOR, 1) for name in names]
        return tuple(parts[0] for parts in split) if all(len(p) == 2 for p in split) else None
    result = tuple(str(family) for family in found)
    if len(result) != len(names):
        raise DataError(f"{len(names)} columns need as many families; got {len(result)}.")
    return result


def require_columns(data: Any, features: NDArray[Any], names: Sequence[str], step: str) -> None:
    """Raise a DataError unless the columns are those that ``step`` was fitted on."""
    if features.shape[1] != len(names):
        raise DataError(
            f"{step} was fitted on {len(names)} columns, got {features.shape[1]}; give the same "
            "columns in the same order."
        )
    given = own_names(data)
    if given is not None and given != tuple(names) and tuple(names) != _numbered(len(names)):
        missing = [name for name in names if name not in set(given)]
        detail = (
            f"not among them: {listed(missing)}" if missing else "they are the same in other order"
        )
        raise DataError(
            f"{step} was fitted on other columns than it got; {detail}. Give the columns "
            f"it was fitted on, in their order: {listed(names)}."
        )


def require_finite(features: NDArray[Any], names: Sequence[str], remedy: str) -> None:
    """Raise a DataError that names the columns holding NaN or infinities, with a remedy."""
    require_no_holes((~np.isfinite(features)).sum(axis=0), names, remedy)


def require_no_holes(counts: NDArray[np.int64], names: Sequence[str], remedy: str) -> None:
    """``require_finite`` where the values that are not finite have been counted by column."""
    if counts.any():
        columns = [f"{names[j]} ({counts[j]})" for j in np.flatnonzero(counts).tolist()]
        raise DataError(
            f"columns that hold values which are not finite (how many): {listed(columns)}. {remedy}"
        )


def require_keys(state: State, keys: Sequence[str], what: str) -> None:
    """Raise a CheckpointError unless a saved state holds all ``keys``."""
    missing = [key for key in keys if key not in state]
    if missing:
        raise CheckpointError(
            f"the saved state of {what} lacks {listed(missing)}; it was written by another version "
            "or damaged. Fit again, or load another checkpoint."
        )
