"""What peers share that know one codebook at a time: a loop over them."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.errors import Unavailable
from bench.peers.contender import Call, Outcome, index_matrix
from bench.problems import Problem

__all__ = ["Search", "lookup_loop", "needs", "needs_compiler", "needs_device", "needs_memory"]

Search = Callable[[Any], Any]
"""Rows of one codebook, as the peer takes them -> indices, as the peer returns them."""


def lookup_loop(
    problem: Problem,
    searches: Sequence[Search],
    convert: Callable[[Tensor], Any] = lambda rows: rows,
) -> Call:
    """One search per codebook, each on contiguous rows that are converted before the clock runs.

    Args:
        problem: the data.
        searches: per quantizer, on converted rows; what it prepared of the codebook is its own.
        convert: float32 [B, D_q] to what a search takes, without copying.
    """
    batches = [[convert(part) for part in parts] for parts in problem.parts]

    def run(i: int) -> list[Any]:
        parts = batches[i % len(batches)]
        return [search(part) for search, part in zip(searches, parts, strict=True)]

    def outcome(found: list[Any]) -> Outcome:
        return Outcome(index_matrix([torch.as_tensor(column) for column in found]))

    return Call(run, outcome)


def needs(module: str, package: str) -> Any:
    """The imported module.

    Raises:
        Unavailable: it is not installed, or breaks on import; says which package has it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = (error.name or module).partition(".")[0]
        also = "" if missing == module.partition(".")[0] else f" ({error})"
        raise Unavailable(f"not installed{also}: pip install {package}") from error
    except (OSError, RuntimeError) as error:  # a shared library or a driver that is missing
        raise Unavailable(f"{package} cannot be loaded here: {error}") from error


def needs_device(device: str, offered: str) -> None:
    """Raises Unavailable where ``device`` (``cuda:0``, say) is not of the kind that is offered."""
    if device.partition(":")[0] != offered:
        raise Unavailable(f"runs on {offered} only")


def needs_compiler(device: str) -> None:
    """Raises Unavailable where torch.compile has no compiler for the device."""
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise Unavailable("torch.compile needs a C++ compiler: install g++ or clang++")
    if device.startswith("cuda"):
        needs("triton", "triton")


def needs_memory(name: str, problem: Problem, wanted: int) -> None:
    """Raises Unavailable where a call would take more bytes than the device has free.

    On a CPU such a call would end the process; a CUDA allocator only refuses.
    """
    free = _free_bytes(problem.device)
    if free is not None and wanted > free:
        raise Unavailable(
            f"{name} needs about {1e-9 * wanted:.0f} GB for this shape, {1e-9 * free:.0f} are free"
        )


def _free_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        from pathlib import Path

        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
