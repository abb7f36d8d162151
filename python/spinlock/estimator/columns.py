"""Columns as the estimator's user knows them: in which order, by which names, in which frame."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray

from spinlock.data.columns import match_columns
from spinlock.data.frames import Frame, user_name, user_names
from spinlock.errors import DataError
from spinlock.training.saved import SavedModel


def rows_in_order(
    frame: Frame, expected: Sequence[str], *, named: bool, estimator: str
) -> NDArray[np.float32]:
    """The rows [N, D] with their columns as fitted: by name where there are names on both sides.

    Args:
        frame: what came.
        expected: ``family::name`` of the columns that were fitted.
        named: they had names.
        estimator: the estimator's class, for messages.

    Raises:
        DataError: columns missing or not expected.
    """
    have_names = frame.names is not None
    if have_names and (named or set(frame.column_names) == set(expected)):
        # Named as the user names them, which means the same columns.
        wanted, given = map(user_name, expected), map(user_name, frame.column_names)
        order = match_columns(list(wanted), list(given), "X")
        unchanged = bool((order == np.arange(len(order))).all())
        return frame.values if unchanged else np.ascontiguousarray(frame.values[:, order])
    if have_names != named:
        text = (
            f"X has feature names, but {estimator} was fitted without feature names"
            if have_names
            else f"X does not have valid feature names, but {estimator} was fitted with feature "
            "names"
        )
        warnings.warn(text, UserWarning, stacklevel=4)
    if frame.values.shape[1] != len(expected):
        raise DataError(
            f"X has {frame.values.shape[1]} features, but {estimator} is expecting "
            f"{len(expected)} features as input"
        )
    return frame.values


def tokens_in_order(tokens: Any, saved: SavedModel) -> NDArray[Any]:
    """Token columns [N, Q] in their order, each value one of its codebook's.

    Raises:
        DataError: other columns, or values that are no codes.
    """
    names = user_names(tokens.columns) if hasattr(tokens, "columns") else None
    array = np.asarray(tokens)
    if names is not None:
        array = array[:, match_columns(saved.contract.quantizers, names, "the tokens")]
    if array.dtype.kind == "f" and bool((array == np.trunc(array)).all()):
        array = array.astype(np.int64)
    saved.contract.check_tokens(array, "the tokens")
    return array


def in_container(values: NDArray[Any], names: Sequence[str], like: Any, estimator: Any) -> Any:
    """``values`` in the frame that ``set_output`` asks for, with the index of ``like``."""
    own = getattr(estimator, "_sklearn_output_config", {})
    kind = own.get("transform", sklearn.get_config()["transform_output"])
    if kind == "pandas":
        import pandas as pd

        index = like.index if isinstance(like, pd.DataFrame) else None
        return pd.DataFrame(values, columns=list(names), index=index)
    if kind == "polars":
        import polars as pl

        return pl.DataFrame(values, schema=list(names), orient="row")
    return values


def arrays_inside() -> AbstractContextManager[None]:
    """The pipeline's own transformers give arrays, whatever ``set_config`` asks of them."""
    context: AbstractContextManager[None] = sklearn.config_context(transform_output="default")
    return context


def numbered(name: str) -> str:
    """``features::0`` as scikit-learn calls a column without a name.

    >>> numbered("features::0")
    'x0'
    """
    return f"x{user_name(name)}"
