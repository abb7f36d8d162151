"""Which launches triton analyses, and what later ones pass; no kernel runs here."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

from spinlock.kernels import launcher
from triton.compiler import CompiledKernel
from triton.runtime.jit import JITFunction


class _Compiled(CompiledKernel):
    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def __del__(self) -> None:
        """Nothing was loaded."""

    def __getitem__(self, grid: Any) -> Any:
        return lambda *arguments: self.calls.append((grid, arguments))


class _Kernel(JITFunction):  # type: ignore[type-arg]
    """x_ptr, num_rows (which varies), width; BLOCK."""

    def __init__(self) -> None:
        self.analysed: list[Any] = []
        self.quick: list[Any] = []

    @property
    def arg_names(self) -> list[str]:
        return ["x_ptr", "num_rows", "width", "BLOCK"]

    def __getitem__(self, grid: Any) -> Any:
        def run(*arguments: Any, **constants: Any) -> CompiledKernel:
            self.analysed.append((grid, arguments, constants))
            return _Compiled(self.quick)

        return run


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> _Kernel:
    monkeypatch.setattr(launcher, "_known", {})
    return _Kernel()


def test_the_second_launch_passes_addresses_and_constants_in_their_order(kernel: _Kernel) -> None:
    x = torch.zeros(4, 4)
    for rows in (7, 8):
        launcher.launch_on(kernel, (5,))(x, rows, 4, BLOCK=64, num_warps=2)
    assert [grid for grid, *_ in kernel.analysed] == [(5, 1, 1)]
    assert kernel.quick == [((5, 1, 1), (x.data_ptr(), 8, 4, 64))]


@pytest.mark.parametrize(
    ("change", "analysed"),
    [
        ({}, 1),
        ({"num_rows": 16}, 1),
        ({"num_rows": 2**31}, 2),
        ({"width": 8}, 2),
        ({"width": 1}, 2),
        ({"BLOCK": 32}, 2),
        ({"num_warps": 8}, 2),
        ({"x_ptr": torch.ones(4, 4)}, 1),
        ({"x_ptr": torch.ones(4, 4).half()}, 2),
        ({"x_ptr": torch.ones(17)[1:]}, 2),
    ],
)
def test_what_a_kernel_is_compiled_for_is_told_apart(
    kernel: _Kernel, change: dict[str, Any], analysed: int
) -> None:
    given = {"x_ptr": torch.zeros(4, 4), "num_rows": 7, "width": 4, "BLOCK": 64, "num_warps": 4}
    for now in (given, given | change):
        values = dict(now)
        position = [values.pop(name) for name in ("x_ptr", "num_rows", "width")]
        launcher.launch_on(kernel, (5, 2))(*position, **values)
    assert len(kernel.analysed) == analysed
    assert len(kernel.quick) == 2 - analysed


def test_kinds_without_end_are_forgotten(kernel: _Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_MOST_KINDS", 2)
    x = torch.zeros(4, 4)
    for width in (1, 2, 3, 3, 1):
        launcher.launch_on(kernel, (1,))(x, 7, width, BLOCK=64)
    assert [arguments[2] for _, arguments, _ in kernel.analysed] == [1, 2, 3, 1]
