"""State to JSON and safetensors and back: exact, strict, readable errors."""

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spinlock.errors import CheckpointError
from spinlock.training.state import (
    decode_json,
    decode_tensors,
    encode_json,
    encode_tensors,
    flatten_state,
    restore_state,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$tensor", "$tuple", "$items", "$float"]), inner)
    ),
    max_leaves=12,
)


def round_trip(value: Any) -> Any:
    tree, tensors = flatten_state(value)
    back = decode_tensors(encode_tensors(tensors), "tensors")
    return restore_state(decode_json(encode_json(tree), "tree"), back)


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


@given(PLAIN)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert same(round_trip(value), value)


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool],
)
def test_tensors_keep_dtype_shape_and_bits(dtype: torch.dtype) -> None:
    tensor = (torch.arange(12).reshape(3, 4).T * 0.37).to(dtype)
    state = {"a": [tensor, torch.zeros(0, 3)], "b": {0: torch.tensor(2.0)}, "same": tensor}
    back = round_trip(state)
    assert back["a"][0].dtype == dtype
    assert torch.equal(back["a"][0], tensor)
    assert torch.equal(back["same"], tensor)
    assert back["a"][1].shape == (0, 3)
    assert back["b"][0].shape == ()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32, np.bool_])
def test_arrays_come_back_as_arrays(dtype: Any) -> None:
    array = np.asfortranarray((np.arange(6).reshape(2, 3) % 2).astype(dtype))
    back = round_trip({"x": array, "scalar": np.float64(0.1)})
    assert isinstance(back["x"], np.ndarray)
    assert back["x"].dtype == array.dtype
    np.testing.assert_array_equal(back["x"], array)
    assert back["scalar"] == 0.1


def test_the_state_is_a_copy() -> None:
    tensor = torch.zeros(2)
    _, tensors = flatten_state({"x": tensor})
    tensor.fill_(1.0)
    assert torch.equal(tensors["x"], torch.zeros(2))


def test_an_optimizer_round_trips() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    parameter.square().sum().backward()
    optimizer.step()
    state = round_trip(optimizer.state_dict())
    other = torch.optim.Adam([torch.nn.Parameter(parameter.detach().clone())], lr=0.5)
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 0.1
    assert other.param_groups[0]["betas"] == (0.9, 0.999)
    assert torch.equal(
        other.state_dict()["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    )


def test_only_plain_data_is_written() -> None:
    with pytest.raises(TypeError, match=r"state at a/1 holds a object"):
        flatten_state({"a": [0, object()]})
    with pytest.raises(TypeError):
        flatten_state({"a": np.array([object()])})


def test_json_is_strict() -> None:
    tree, _ = flatten_state({"x": math.inf})
    json.loads(encode_json(tree), parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 30, -1])
def test_truncated_tensors_are_named(cut: int) -> None:
    data = encode_tensors({"x": torch.ones(4)})
    with pytest.raises(CheckpointError, match="the file"):
        decode_tensors(data[:cut], "the file")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_broken_json_is_named(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="the file"):
        decode_json(data, "the file")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' is there twice"),
        ("[NaN]", "NaN is no finite number"),
        ("[-Infinity]", "-Infinity is no finite number"),
        ("[1e999]", "1e999 is no finite number"),
    ],
)
def test_what_strict_json_never_says_is_refused(text: str, problem: str) -> None:
    with pytest.raises(CheckpointError, match=rf"the file is no readable JSON \({problem}\)"):
        decode_json(text.encode(), "the file")


def test_absurd_header_is_refused() -> None:
    with pytest.raises(CheckpointError, match="the file"):
        decode_tensors(struct.pack("<Q", 1 << 60) + b"{}", "the file")


@pytest.mark.parametrize("marker", ["$tensor", "$array"])
@pytest.mark.parametrize("name", ["y", 3, None, ["x"]])
def test_missing_tensors_are_named(marker: str, name: Any) -> None:
    with pytest.raises(CheckpointError, match="do not belong together"):
        restore_state({"a": {marker: name}}, {"x": torch.ones(1)})
