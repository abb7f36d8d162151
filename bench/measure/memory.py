"""The most memory that one call holds beyond what was held before."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

__all__ = ["peak_bytes", "settle_allocator", "unknown_because"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5)
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_SMALLEST_MAPPING = 64 << 10
# The largest threshold of glibc's adaptive rule on 64 bits, and the trimming that goes with it.
_SETTLED_MAPPING, _SETTLED_TRIM = 32 << 20, 64 << 20


def peak_bytes(run: Callable[[], object], device: str | torch.device = "cpu") -> int | None:
    """Runs it once and returns the most bytes held meanwhile, less what was held before.

    On a Linux CPU this is the kernel's peak of resident pages (``VmHWM``, which is reset before).
    Every allocation of 64 KiB and more is a mapping of its own during the call and is given back
    when it is freed, so that the peak is that of live memory; smaller ones count by the page.
    What it misses: memory that a library had kept from earlier calls and uses again (glibc's own
    is put out of reach beforehand, that of other allocators is not), and allocated pages that are
    never touched.  What it adds: code that is loaded and thread stacks that are made by a first
    call, so call it once before; and a few hundred KiB, for the kernel counts in batches.  Other
    threads' memory counts too.

    Mapping every block makes allocating slower, so nothing may be timed inside of ``run``.
    Afterwards the allocator is settled, see :func:`settle_allocator`: call that before anything is
    timed in a process that also calls this, or timings before and after are not comparable.

    On CUDA it is what torch's allocator handed out; other libraries' own allocations are missed.

    Args:
        run: the call; its result is kept until the peak has been read.
        device: ``cpu`` or a CUDA device.

    Returns:
        Bytes, at least 0; None where they cannot be known, see :func:`unknown_because`.
    """
    if unknown_because(device) is not None:
        return None
    where = torch.device(device)
    return _cuda_peak(run, where) if where.type == "cuda" else _resident_peak(run)


def settle_allocator() -> None:
    """Puts glibc's allocator where its own adaptive rule leads in a process with large blocks.

    Blocks up to 32 MiB then come from the heap, whose pages are kept.  Without it the first large
    block that is freed, or the first peak that is measured, changes what later calls cost (by a
    third, for outputs of a few MiB), whoever makes them.  Does nothing without glibc.
    """
    _set_option(_MMAP_THRESHOLD, _SETTLED_MAPPING)
    _set_option(_TRIM_THRESHOLD, _SETTLED_TRIM)


def unknown_because(device: str | torch.device = "cpu") -> str | None:
    """Why ``peak_bytes`` returns None on this device; None where it does not."""
    kind = torch.device(device).type
    if kind == "cuda":
        return None if torch.cuda.is_available() else "torch sees no CUDA device"
    if kind != "cpu":
        return f"peak memory is not known on {kind}"
    if not sys.platform.startswith("linux"):
        return "peak memory is read from Linux' /proc, which this system has not"
    try:
        _resident("VmHWM")
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    except (OSError, ValueError):
        return "the kernel does not let this process reset its peak memory (/proc/self/clear_refs)"
    return None


def _resident_peak(run: Callable[[], object]) -> int:
    with _large_blocks_mapped(), _heap_filled():
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
        before = _resident("VmRSS")
        result = run()
        peak = _resident("VmHWM")
        del result
    return max(0, peak - before)


def _cuda_peak(run: Callable[[], object], device: torch.device) -> int:
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = run()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device)
    del result
    return max(0, peak - before)


def _resident(name: str) -> int:
    """Bytes of a line of /proc/self/status."""
    match = re.search(rf"^{name}:\s*(\d+) kB$", _STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise ValueError(f"no {name}")
    return int(match[1]) << 10


@contextmanager
def _large_blocks_mapped() -> Iterator[None]:
    """glibc maps every block from 64 KiB on; without glibc, nothing happens."""
    _set_option(_MMAP_THRESHOLD, _SMALLEST_MAPPING)
    try:
        yield
    finally:
        settle_allocator()


@contextmanager
def _heap_filled() -> Iterator[None]:
    """Takes every free block of the heap from 64 KiB on, so that new ones have to be mapped.

    A block that is free in the middle of the heap would serve a large allocation, and stay resident
    when that is freed.  The blocks that are taken are not touched, so that they hold no memory.
    """
    taken: list[int] = []
    libc = ctypes.CDLL(None)
    gc.collect()
    _trim()
    if hasattr(libc, "gnu_get_libc_version"):
        libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        libc.free.argtypes, libc.free.restype = [ctypes.c_void_p], None
        size = _SETTLED_MAPPING
        while size >= _SMALLEST_MAPPING:
            block = libc.malloc(size)
            if block is None or _is_mapped(block):
                libc.free(block)
                size //= 2
            else:
                taken.append(block)
    try:
        yield
    finally:
        for block in taken:
            libc.free(block)


def _is_mapped(block: int) -> bool:
    """Whether glibc mapped a block on its own: the second bit of the word before it."""
    return bool(ctypes.c_size_t.from_address(block - ctypes.sizeof(ctypes.c_size_t)).value & 2)


def _set_option(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
        mallopt(option, value)


def _trim() -> None:
    """Gives glibc's free pages back to the system, of all its arenas."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
        trim(0)
