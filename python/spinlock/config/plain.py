"""Any nest of mappings, sequences and numbers in the few types that YAML and JSON write."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """A copy of dicts, lists, strings, bools, ints and floats; what is none of these stays.

    Tuples and numpy's arrays become lists, paths text, numpy's numbers Python's.

    >>> plain({"ratios": (0.5, 1), "folder": __import__("pathlib").Path("runs")})
    {'ratios': [0.5, 1], 'folder': 'runs'}
    >>> plain({"ratios": np.array([0.5, 1.0]), "flags": [np.True_]})
    {'ratios': [0.5, 1.0], 'flags': [True]}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    return value
