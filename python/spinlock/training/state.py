"""Nested state to a JSON tree beside a flat set of tensors, and back: exact, without pickle.

Tensors and numeric arrays leave the tree and go to safetensors; a marker stays behind.  What JSON
cannot say (tuples, keys that are no strings, infinities) is said by markers as well.

>>> tree, tensors = flatten_state({"step": torch.tensor(3), "betas": (0.9, 0.999)})
>>> tree
{'step': {'$tensor': 'step'}, 'betas': {'$tuple': [0.9, 0.999]}}
>>> restore_state(tree, tensors)
{'step': tensor(3), 'betas': (0.9, 0.999)}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from spinlock.errors import CheckpointError

_TENSOR, _ARRAY, _TUPLE, _ITEMS, _FLOAT = "$tensor", "$array", "$tuple", "$items", "$float"


def flatten_state(value: Any, path: str = "") -> tuple[Any, dict[str, Tensor]]:
    """Splits a state into a JSON tree and the tensors it holds, copied to the CPU.

    Args:
        value: dicts, lists and tuples of None, bool, int, float, str, tensors and numeric arrays.
        path: prefix of the tensors' names.

    Raises:
        TypeError: anything else; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    return _flatten(value, path, tensors), tensors


def restore_state(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state that :func:`flatten_state` split.

    Raises:
        CheckpointError: the tree names a tensor that is not there.
    """
    if isinstance(tree, list):
        return [restore_state(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 1:
        (marker, content) = next(iter(tree.items()))
        if marker == _TENSOR:
            return _lookup(content, tensors)
        if marker == _ARRAY:
            return _lookup(content, tensors).numpy()
        if marker == _TUPLE:
            return tuple(restore_state(item, tensors) for item in content)
        if marker == _ITEMS:
            return {restore_state(k, tensors): restore_state(v, tensors) for k, v in content}
        if marker == _FLOAT:
            return float(content)
    return {key: restore_state(item, tensors) for key, item in tree.items()}


def encode_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file of copies, so that tensors may share memory."""
    copies = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    return safetensors.torch.save(copies)


def decode_tensors(data: bytes, what: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU.

    Raises:
        CheckpointError: not a whole safetensors file; names ``what``.
    """
    try:
        return safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{what} is no readable safetensors file ({error}): it is damaged or was written by "
            "something else; use another checkpoint"
        ) from error


def encode_json(tree: Any) -> bytes:
    """Strict JSON, indented; numbers survive to the last bit."""
    text = json.dumps(tree, indent=2, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode("utf-8")


def decode_json(data: bytes, what: str) -> Any:
    """The tree in a JSON file.

    Raises:
        CheckpointError: not a whole JSON document, or one with a key twice or with numbers that
            are not finite; names ``what``.
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_finite,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{what} is no readable JSON ({error}): it is damaged or was written by something "
            "else; use another checkpoint"
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.100} is there twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:100]} is no finite number")
    return value


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT: repr(value)}
    if isinstance(value, np.generic):
        return _flatten(value.item(), path, tensors)
    if isinstance(value, Tensor):
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: path}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        tensors[path] = torch.from_numpy(np.array(value, order="C"))
        return {_ARRAY: path}
    if isinstance(value, list | tuple):
        items = [_flatten(item, _join(path, i), tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {_TUPLE: items}
    if isinstance(value, Mapping):
        return _flatten_mapping(value, path, tensors)
    raise TypeError(f"state at {path or 'its root'} holds a {type(value).__name__}, not plain data")


def _flatten_mapping(value: Mapping[Any, Any], path: str, tensors: dict[str, Tensor]) -> Any:
    keys = list(value)
    plain = all(isinstance(key, str) for key in keys)
    if plain and not (len(keys) == 1 and keys[0].startswith("$")):
        return {key: _flatten(item, _join(path, key), tensors) for key, item in value.items()}
    pairs = []
    for key, item in value.items():
        pairs.append([_flatten(key, path, tensors), _flatten(item, _join(path, key), tensors)])
    return {_ITEMS: pairs}


def _join(path: str, key: Any) -> str:
    return f"{path}/{key}" if path else str(key)


def _lookup(name: Any, tensors: Mapping[str, Tensor]) -> Tensor:
    if not isinstance(name, str) or name not in tensors:
        raise CheckpointError(
            f"the checkpoint's tensor {name!r} is missing: its files do not belong together; use "
            "another checkpoint"
        )
    return tensors[name]
