"""Every message names the thing, what was expected, what came, and the remedy."""

import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from spinlock.errors import InputError
from spinlock.layout import CodebookLayout
from spinlock.ops import _cpp, accumulate_codes, gather_codes, nearest_codes, quantize
from spinlock.ops._backend import _has_triton, resolve_fused

LAYOUT = CodebookLayout((3, 2), (2, 3))
LATENTS = torch.zeros(4, 5)
WEIGHT = torch.zeros(LAYOUT.weight_size)
INDICES = torch.zeros(4, 2, dtype=torch.int64)


@pytest.mark.parametrize("operation", [nearest_codes, quantize])
@pytest.mark.parametrize(
    ("latents", "weight", "message"),
    [
        (torch.zeros(4, 6), WEIGHT, r"latents: expected shape \[B, 5\] .* got \[4, 6\]; pass"),
        (torch.zeros(5), WEIGHT, r"latents: expected shape \[B, 5\] .* got \[5\]"),
        (LATENTS.long(), WEIGHT, r"latents: expected floating point, got torch.int64; convert"),
        (np.zeros((4, 5)), WEIGHT, r"latents: expected a torch.Tensor, got ndarray; convert"),
        (LATENTS, torch.zeros(3), r"weight: expected shape \[32\] .* got \[3\]; pass"),
        (LATENTS, WEIGHT.int(), r"weight: expected floating point, got torch.int32"),
        (LATENTS, WEIGHT.to("meta"), r"one device, got latents on cpu, weight on meta; move"),
    ],
)
def test_latents_and_weight(
    operation: Callable[..., Any], latents: Any, weight: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        operation(latents, weight, LAYOUT)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (INDICES.float(), r"indices: expected int64 \(or int32\), got torch.float32; convert"),
        (INDICES[:, :1], r"indices: expected shape \[B, 2\] .* got \[4, 1\]"),
        (INDICES + 2, r"indices\[:, 1\]: expected values in 0..1 .* got 2..2; were they"),
        (INDICES - 1, r"indices\[:, 0\]: expected values in 0..2 .* got -1..-1"),
        (INDICES.numpy(), r"indices: expected a torch.Tensor, got ndarray"),
    ],
)
def test_indices(indices: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gather_codes(indices, WEIGHT, LAYOUT)
    with pytest.raises(InputError, match=message):
        accumulate_codes(LATENTS, indices, LAYOUT)
    with pytest.raises(InputError, match=message):
        quantize(LATENTS, WEIGHT, LAYOUT, indices=indices)


def test_rows_must_agree() -> None:
    with pytest.raises(InputError, match="got 4 in latents, 3 in indices; pass one batch"):
        accumulate_codes(LATENTS, INDICES[:3], LAYOUT)


def test_unknown_backend_lists_the_known() -> None:
    known = r"'reference', 'torch', 'triton', 'cpp' or None .* got 'abacus'"
    with pytest.raises(InputError, match=known):
        nearest_codes(LATENTS, WEIGHT, LAYOUT, backend="abacus")


@pytest.mark.parametrize(
    ("latents", "weight", "got"),
    [
        (LATENTS.double(), WEIGHT, "torch.float64 on cpu, torch.float32 on cpu"),
        (LATENTS, WEIGHT.double(), "torch.float32 on cpu, torch.float64 on cpu"),
        (LATENTS.to("meta"), WEIGHT.to("meta"), "torch.float32 on meta"),
    ],
)
def test_cpp_says_what_it_cannot_take(latents: Tensor, weight: Tensor, got: str) -> None:
    expected = rf"backend: 'cpp' needs the CPU, float32, .* got {got}.*; move the tensors, or leave"
    with pytest.raises(InputError, match=expected):
        resolve_fused("cpp", latents, weight)
    assert resolve_fused(None, latents, weight) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_cpu_floats_go_to_the_core(dtype: torch.dtype) -> None:
    latents, weight = LATENTS.to(dtype), WEIGHT.to(dtype)
    assert resolve_fused(None, latents, weight) is _cpp
    assert resolve_fused("cpp", latents, weight) is _cpp
    assert resolve_fused("torch", latents, weight) is None


@pytest.mark.parametrize(
    ("version", "usable"),
    [
        ("3.2.0", False),
        ("3.3.1", True),
        ("3.10.0+git5389ed79", True),
        ("3.7rc1", True),
        ("4", True),
    ],
)
def test_triton_is_used_from_3_3_on(
    version: str, usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = ModuleType("triton")
    installed.__spec__ = importlib.machinery.ModuleSpec("triton", None)
    installed.__dict__["__version__"] = version
    monkeypatch.setitem(sys.modules, "triton", installed)
    assert _has_triton() is usable


def test_traced_calls_are_checked_alike() -> None:
    def traced(latents: Tensor) -> Tensor:
        return nearest_codes(latents, WEIGHT, LAYOUT, backend="abacus")

    with pytest.raises(InputError, match="got 'abacus'"):
        make_fx(traced)(LATENTS)


def test_traced_indices_are_checked_when_they_run() -> None:
    gather = make_fx(gather_codes)(INDICES, WEIGHT, LAYOUT)
    with pytest.raises(InputError, match=r"indices\[:, 1\]: expected values in 0..1 .* got 2..2"):
        gather(INDICES + 2, WEIGHT, LAYOUT)


@pytest.mark.parametrize(
    ("out", "got"),
    [
        (torch.zeros(4, 2), r"got torch.float32 \[4, 2\] on cpu"),
        (torch.zeros(3, 2, dtype=torch.int64), r"got torch.int64 \[3, 2\]"),
        (torch.zeros(2, 4, dtype=torch.int64).t(), r"with strides \(1, 4\); make it with torch.em"),
    ],
)
def test_buffers(out: Tensor, got: str) -> None:
    with pytest.raises(InputError, match=rf"out: expected a contiguous torch.int64 .* {got}"):
        nearest_codes(LATENTS, WEIGHT, LAYOUT, out=out)
    quantized = torch.zeros(4, 5)
    with pytest.raises(InputError, match=rf"out\[1\]: expected a contiguous .* {got}"):
        quantize(LATENTS, WEIGHT, LAYOUT, out=(quantized, out))


def test_buffers_have_no_gradient() -> None:
    out = torch.zeros(4, 5), torch.zeros(4, 2, dtype=torch.int64)
    latents = LATENTS.clone().requires_grad_()
    with pytest.raises(InputError, match="out: expected latents and weight without gradient"):
        quantize(latents, WEIGHT, LAYOUT, out=out)
    with torch.no_grad():
        assert quantize(latents, WEIGHT, LAYOUT, out=out).quantized is out[0]
