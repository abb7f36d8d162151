"""Compiles the kernels for GPUs that are not there, and reads the machine code.

Which variants there are is found by running ``spinlock.kernels.launch`` with recorders in the
kernels' place, so that no list of them can fall behind.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from spinlock.kernels import launch, launch_lookup, launch_step
from spinlock.kernels.bank import SIZES
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

__all__ = ["KERNELS", "Launch", "Report", "compiled", "recorded", "report"]

KERNELS = (
    "accumulate_codes",
    "first_pass",
    "gather_codes",
    "nearest_of_group",
    "pack_codes",
    "quantize_backward",
    "quantize_small",
    "recheck",
    "refresh_codes",
)
_LAUNCHING = (launch, launch_lookup, launch_step)
_TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_INSTRUCTION = re.compile(
    r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*?);", re.M
)


@dataclass(frozen=True)
class Launch:
    """One call of a kernel: what the JIT would compile.

    Attributes:
        kernel: its name.
        signature: parameter -> type.
        constants: constexpr parameter -> value.
        aligned: parameters divisible by 16.
        options: warps, stages, fusion.
    """

    kernel: str
    signature: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    aligned: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The kernel, its row type and its constants."""
        types = dict(self.signature)
        rows = types.get("x_ptr", "")[1:]
        short = "-".join(f"{key.lower()}={int(value)}" for key, value in self.constants)
        warps = dict(self.options).get("num_warps", 4)
        return f"{self.kernel} {rows} {short} warps={warps}".replace("  ", " ")


@dataclass(frozen=True)
class Report:
    """What the disassembler says of one compiled kernel.

    Attributes:
        registers: per thread.
        stack: bytes; more than 0 are spills.
        instructions: in the whole kernel.
        loop: in the innermost loop that holds matrix instructions; 0 without one.
        matrix: names of matrix instructions.
        loads: names of loads from global memory.
    """

    registers: int
    stack: int
    instructions: int
    loop: int
    matrix: tuple[str, ...]
    loads: tuple[str, ...]


@contextmanager
def recorded(architecture: int = 90, *, nvidia: bool = True) -> Iterator[list[Launch]]:
    """Within it, launches on CPU tensors are noted and not run, as they would be for sm_XX."""
    found: list[Launch] = []
    places = [
        (module, name, getattr(module, name))
        for module in _LAUNCHING
        for name in KERNELS
        if hasattr(module, name)
    ]
    here = launch_lookup.INTERPRETED, launch_lookup.architecture
    try:
        launch_lookup.INTERPRETED = not nvidia
        launch_lookup.architecture = lambda _: architecture
        for module, name, kernel in places:
            setattr(module, name, _Recorder(kernel, found))
        yield found
    finally:
        launch_lookup.INTERPRETED, launch_lookup.architecture = here
        for module, name, kernel in places:
            setattr(module, name, kernel)


class _Recorder:
    def __init__(self, kernel: Any, found: list[Launch]) -> None:
        self.kernel, self.found = kernel, found

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        assert all(size >= 1 for size in grid), grid
        return self.note

    def note(self, *arguments: Any, **options: Any) -> None:
        names = self.kernel.arg_names
        given = dict(zip(names, arguments, strict=False))
        constants = {key: options.pop(key) for key in list(options) if key in names}
        assert len(given) + len(constants) == len(names), self.kernel
        signature, aligned = [], []
        for name in names:
            if name in constants:
                signature.append((name, "constexpr"))
                continue
            signature.append((name, _type(given[name])))
            if _aligned(given[name]) and name not in SIZES:
                aligned.append(name)
        entry = Launch(
            self.kernel.fn.__name__,
            tuple(signature),
            tuple(constants.items()),
            tuple(aligned),
            tuple(sorted(options.items())),
        )
        if entry not in self.found:
            self.found.append(entry)


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return _TYPES[value.dtype]
    if isinstance(value, float):
        return "fp32"
    return "i32" if abs(value) < 2**31 else "i64"


def _aligned(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.data_ptr() % 16 == 0
    return isinstance(value, int) and value % 16 == 0


def compiled(entry: Launch, target: GPUTarget) -> Any:
    """The compiled kernel of a launch."""
    kernel = next(vars(m)[entry.kernel] for m in _LAUNCHING if hasattr(m, entry.kernel))
    position = {name: i for i, name in enumerate(kernel.arg_names)}
    source = ASTSource(
        fn=kernel,
        signature=dict(entry.signature),
        constexprs={(position[name],): value for name, value in entry.constants},
        attrs={(position[name],): [["tt.divisibility", 16]] for name in entry.aligned},
    )
    return triton.compile(source, target=target, options=dict(entry.options))


def report(kernel: Any) -> Report:
    """Resources and instructions of a kernel compiled for an NVIDIA GPU."""
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(kernel.asm["cubin"])
        usage = _dump("--dump-resource-usage", binary)
        code = _dump("--dump-sass", binary)
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    lines = [(int(at, 16), name, rest) for at, name, rest in _INSTRUCTION.findall(code)]
    return Report(
        registers=int(found[1]),
        stack=int(found[2]),
        instructions=len(lines),
        loop=_matrix_loop(lines),
        matrix=tuple(sorted({name for _, name, _ in lines if _is_matrix(name)})),
        loads=tuple(sorted({name for _, name, _ in lines if name.startswith("LDG")})),
    )


def _dump(what: str, binary: Path) -> str:
    tool = str(_TOOLS / "cuobjdump")
    return subprocess.run([tool, what, str(binary)], capture_output=True, text=True).stdout


def _is_matrix(name: str) -> bool:
    return re.match(r"(HMMA|HGMMA|QGMMA|DMMA|IMMA|UTC\w*MMA)", name) is not None


def _matrix_loop(lines: list[tuple[int, str, str]]) -> int:
    """Instructions of the backward branch's body that holds most matrix instructions."""
    best = (0, 0)
    for at, name, rest in lines:
        target = re.search(r"0x([0-9a-f]+)", rest) if name.startswith("BRA") else None
        if target is None or int(target[1], 16) >= at:
            continue
        body = [other for where, other, _ in lines if int(target[1], 16) <= where <= at]
        best = max(best, (sum(map(_is_matrix, body)), -len(body)))
    return -best[1]
