"""The least time that a piece of work needs by the measured limits, and which one binds.

Williams, Waterman and Patterson 2009, *Roofline*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.errors import BenchError
from bench.limits.cpu import threads_text

__all__ = ["Roofline", "roofline", "share"]

_PEAKS = {"fp32": "fp32 FMA GFLOP/s", "bf16": "bf16 GFLOP/s"}


@dataclass(frozen=True)
class Roofline:
    """What the limits allow.

    Attributes:
        seconds: the least time.
        bound: the name of the limit that makes it so.
    """

    seconds: float
    bound: str


def roofline(
    flops: float,
    bytes: float,
    limits: Mapping[str, float],
    threads: int,
    *,
    precision: str | None = None,
) -> Roofline:
    """The larger of flops / peak and bytes / memory bandwidth.

    The bandwidth is the better one of reading and copying.

    Args:
        flops: operations, a multiply-add being two.
        bytes: read and written, each once.
        limits: of ``cpu_limits`` or ``cuda_limits``.
        threads: CPU threads; the limits of a GPU have none.
        precision: which peak, ``fp32`` or ``bf16``, on a GPU also ``tf32`` and ``fp16``; the
            default is ``fp32`` on a CPU and ``tf32`` on a GPU.

    Returns:
        The least seconds, and the limit that binds.

    Raises:
        BenchError: the limits lack the peak or the bandwidth.

    >>> limits = {"fp32 FMA GFLOP/s, 1 thread": 200.0, "read GB/s from memory, 1 thread": 50.0}
    >>> roofline(4e9, 1e8, limits, threads=1)
    Roofline(seconds=0.02, bound='fp32 FMA GFLOP/s, 1 thread')
    """
    end = f", {threads_text(threads)}"
    gpu = f"{precision or 'tf32'} matmul TFLOP/s"
    if gpu in limits:
        peak, scale = gpu, 1e12
        streams = [f"{verb} GB/s from device memory" for verb in ("read", "copy")]
    else:
        peak, scale = f"{_PEAKS.get(precision or 'fp32', f'{precision} GFLOP/s')}{end}", 1e9
        streams = [f"{verb} GB/s from memory{end}" for verb in ("read", "copy")]
    stream = max(streams, key=lambda name: limits.get(name, 0.0))
    for name in (peak, stream):
        if not limits.get(name, 0.0) > 0.0:
            raise BenchError(f"roofline: expected the limit '{name}', got {sorted(limits)}")
    needs = {peak: flops / (scale * limits[peak]), stream: bytes / (1e9 * limits[stream])}
    bound = max(needs, key=lambda name: needs[name])
    return Roofline(needs[bound], bound)


def share(
    seconds: float,
    flops: float,
    bytes: float,
    limits: Mapping[str, float],
    threads: int,
    *,
    precision: str | None = None,
) -> float:
    """Attainable / measured time: 1.0 is the machine's limit.

    Args:
        seconds: measured.
        flops, bytes, limits, threads, precision: see roofline.

    Raises:
        BenchError: a time that is not positive, or a limit that is missing.
    """
    if not seconds > 0.0:
        raise BenchError(f"share: expected a positive time, got {seconds} s")
    return roofline(flops, bytes, limits, threads, precision=precision).seconds / seconds
