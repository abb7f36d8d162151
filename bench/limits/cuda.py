"""The limits of a CUDA device: matmul rates, device memory bandwidth and launch floors."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from bench.errors import Unavailable

__all__ = ["cuda_limits"]

_LAUNCHES = 1000
_MOST_STREAM_BYTES = 2 << 30
# Reading or copying this many times the last cache leaves no more than a share of it to a hit.
_CACHE_FACTOR = 8
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def cuda_limits(quick: bool) -> dict[str, float]:
    """Measures the current CUDA device.

    ``fp32``, ``tf32``, ``fp16`` and ``bf16 matmul TFLOP/s`` of large square matrices;
    ``read`` and ``copy GB/s from device memory`` (a sum; copied bytes count twice); and
    microseconds of a launch of a kernel on one element: ``launch us`` from Python, one after the
    other, ``launch us in a CUDA graph`` per node of a long graph, ``graph replay us`` of a graph
    with that kernel alone.  Each is the median of several repeats.

    Args:
        quick: smaller matrices and fewer repeats.

    Returns:
        Name -> number, in the unit its name says.

    Raises:
        Unavailable: torch sees no CUDA device.
    """
    if not torch.cuda.is_available():
        raise Unavailable("torch sees no CUDA device")
    repeats = 5 if quick else 15
    with torch.inference_mode():
        found = _matmuls(4096 if quick else 8192, repeats)
        torch.cuda.empty_cache()
        found |= _streams(repeats)
        torch.cuda.empty_cache()
        found |= _launches(repeats)
    return found


def _event_seconds(run: Callable[[], object], repeats: int, calls: int = 1) -> float:
    """Median seconds of a call, between events around ``calls`` of them."""
    for _ in range(3):
        run()
    seconds = []
    for _ in range(repeats):
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        stop = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        start.record()
        for _ in range(calls):
            run()
        stop.record()
        stop.synchronize()
        seconds.append(float(start.elapsed_time(stop)) * 1e-3 / calls)
    return median(seconds)


def _matmuls(size: int, repeats: int) -> dict[str, float]:
    generator = torch.Generator(device="cuda").manual_seed(0)
    left, right = (torch.randn(size, size, device="cuda", generator=generator) for _ in range(2))
    found = {}
    before = torch.get_float32_matmul_precision()
    try:
        for name, precision in (("fp32", "highest"), ("tf32", "high")):
            torch.set_float32_matmul_precision(precision)
            found[name] = _matmul_rate(left, right, repeats)
    finally:
        torch.set_float32_matmul_precision(before)
    for name, dtype in _DTYPES.items():
        found[name] = _matmul_rate(left.to(dtype), right.to(dtype), repeats)
    major, _ = torch.cuda.get_device_capability()
    if torch.version.hip is None and major < 8:
        for name in ("tf32", "bf16"):  # no such units: the figure would be another type's
            del found[name]
    return {f"{name} matmul TFLOP/s": rate for name, rate in found.items()}


def _matmul_rate(left: Tensor, right: Tensor, repeats: int) -> float:
    out = torch.empty_like(left)
    seconds = _event_seconds(lambda: torch.mm(left, right, out=out), repeats, calls=4)
    return 2e-12 * left.shape[0] ** 3 / seconds


def _streams(repeats: int) -> dict[str, float]:
    free, _ = torch.cuda.mem_get_info()
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    cache = int(getattr(properties, "L2_cache_size", 0))
    wanted = max(1 << 30, _CACHE_FACTOR * cache)
    count = min(wanted, _MOST_STREAM_BYTES, free // 4) // 4
    source = torch.zeros(count, device="cuda")
    target = torch.empty_like(source)
    read = _event_seconds(lambda: torch.sum(source), repeats, calls=4)
    copied = _event_seconds(lambda: target.copy_(source), repeats, calls=4)
    return {
        "read GB/s from device memory": 4e-9 * count / read,
        "copy GB/s from device memory": 8e-9 * count / copied,
    }


def _launches(repeats: int) -> dict[str, float]:
    element = torch.zeros(1, device="cuda")

    def launch() -> None:
        element.add_(1.0)

    def many() -> None:
        for _ in range(_LAUNCHES):
            launch()

    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        launch()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    long, short = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(long):
        many()
    with torch.cuda.graph(short):
        launch()
    many()
    eager = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        many()
        torch.cuda.synchronize()
        eager.append((time.perf_counter() - start) / _LAUNCHES)
    return {
        "launch us": 1e6 * median(eager),
        "launch us in a CUDA graph": 1e6 * _event_seconds(long.replay, repeats) / _LAUNCHES,
        "graph replay us": 1e6 * _event_seconds(short.replay, repeats, calls=100),
    }
