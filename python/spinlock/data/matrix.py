"""What the fitted transformers accept: a plain matrix with names beside it, or a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.data.table import SEPARATOR, require_numeric
from spinlock.errors import CheckpointError, DataError

State = Mapping[str, Any]


def matrix_of(data: Any) -> NDArray[Any]:
    """The [N, D] matrix of ``data``, or of its ``features``.

    Raises:
        DataError: not a matrix of numbers, or one without columns.
    """
    features = np.asarray(getattr(data, "features", data))
    require_numeric(features.dtype, "the feature matrix")
    if features.ndim != 2 or features.shape[1] == 0:
        raise DataError(
            f"the feature matrix has shape {list(features.shape)}; expected [rows, columns] with "
            "at least one column."
        )
    return features


def names_of(data: Any, names: Sequence[str] | None, num_features: int) -> tuple[str, ...]:
    """``names``, or ``data.names``, or ``x0``, ``x1``, ...; one per column and unique.

    >>> names_of(np.zeros((1, 2)), None, 2)
    ('x0', 'x1')
    """
    found = names if names is not None else getattr(data, "names", None)
    if found is None:
        return tuple(f"x{column}" for column in range(num_features))
    result = tuple(str(name) for name in found)
    if len(result) != num_features or len(set(result)) != num_features:
        raise DataError(
            f"{num_features} columns need as many different names; got {len(result)} names, "
            f"{len(set(result))} of them different."
        )
    return result


def families_of(
    data: Any, families: Sequence[str] | None, names: Sequence[str]
) -> tuple[str, ...] | None:
    """``families``, or ``data.families``, or what stands before ``::`` in each name, or None."""
    found = families if families is not None else getattr(data, "families", None)
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
    given = tuple(getattr(data, "names", names))
    if given != tuple(names):
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


def listed(items: Sequence[str], most: int = 10) -> str:
    """The first items, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
