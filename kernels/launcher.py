"""Launches without the analysis of arguments that triton makes for every launch.

The first launch with arguments of some kinds goes through triton, which compiles.  Later ones call
what was compiled, with addresses instead of tensors.  On a GPU's host an analysed launch of twenty
arguments takes some 40 microseconds, more than most kernels here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from triton.compiler import CompiledKernel
from triton.runtime.jit import JITFunction

from .bank import SIZES

__all__ = ["launch_on"]

_LARGEST_INT32 = 2**31 - 1
# Kinds of arguments remembered of a kernel; shapes that never repeat push out the oldest.
_MOST_KINDS = 1024


def launch_on(kernel: Any, grid: tuple[int, ...]) -> Callable[..., object]:
    """``kernel[grid]``, but quick from the second launch on.

    What it returns takes what the kernel takes: positional arguments, which vary, and keywords for
    constants and options.  The current device must be that of the tensors, the first argument one.

    Args:
        kernel: a function decorated with ``triton.jit``.
        grid: 1 to 3 numbers of programs.
    """
    known = _known.get(id(kernel))
    if known is None:
        if not isinstance(kernel, JITFunction):  # interpreted, or recorded by a test
            return kernel[grid]  # type: ignore[no-any-return]
        known = _known[id(kernel)] = _Known(kernel)
    return partial(known.launch, (*grid, 1, 1)[:3])


class _Known:
    """What a kernel has been compiled to, by kinds of arguments."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.varies = tuple(name in SIZES for name in kernel.arg_names)
        self.compiled: dict[tuple[object, ...], tuple[CompiledKernel, tuple[object, ...]]] = {}

    def launch(self, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        # Compiled for: dtypes and alignment of tensors, values of most integers, and constants.
        kinds: list[object] = [arguments[0].get_device(), *constants.items()]
        values: list[object] = []
        for argument, varies in zip(arguments, self.varies, strict=False):
            if isinstance(argument, Tensor):
                address = argument.data_ptr()
                values.append(address)
                kinds.append(argument.dtype if address & 15 == 0 else (argument.dtype,))
            else:
                values.append(argument)
                if isinstance(argument, float):
                    kinds.append(float)
                else:
                    kinds.append(argument > _LARGEST_INT32 if varies else argument)
        key = tuple(kinds)
        found = self.compiled.get(key)
        if found is None:
            self._compile(key, grid, arguments, constants)
        else:
            compiled, rest = found
            compiled[grid](*values, *rest)

    def _compile(
        self,
        key: tuple[object, ...],
        grid: tuple[int, ...],
        arguments: tuple[Any, ...],
        constants: dict[str, Any],
    ) -> None:
        compiled = self.kernel[grid](*arguments, **constants)
        if not isinstance(compiled, CompiledKernel):
            return
        if len(self.compiled) >= _MOST_KINDS:
            self.compiled.pop(next(iter(self.compiled)), None)  # another thread may have been first
        names = self.kernel.arg_names[len(arguments) :]
        self.compiled[key] = compiled, tuple(constants[name] for name in names)


_known: dict[int, _Known] = {}
