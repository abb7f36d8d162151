"""The machine's limits: names, units, finite figures, and what is said where they are missing."""

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.errors import BenchError, Unavailable
from bench.limits import cpu, native
from bench.limits.cpu import cpu_limits
from bench.limits.cuda import cuda_limits
from bench.limits.roofline import Roofline, roofline, share

NAME = re.compile(
    r"(fp32 FMA GFLOP/s|bf16 GFLOP/s|torch sgemm GFLOP/s|(read|copy) GB/s from (L1d|L2|L3|memory))"
    r", (1 thread|[2-9] threads)"
)
LIMITS = {
    "fp32 FMA GFLOP/s, 1 thread": 200.0,
    "bf16 GFLOP/s, 1 thread": 400.0,
    "read GB/s from memory, 1 thread": 40.0,
    "copy GB/s from memory, 1 thread": 50.0,
}


@pytest.fixture
def fresh_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A user who has built nothing yet, and whose cache is this folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.load.cache_clear()
    yield tmp_path / "spinlock-bench"
    native.load.cache_clear()


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bursts too short to mean anything, through little memory."""
    monkeypatch.setattr(cpu, "_QUICK", cpu._Effort(2, 0.001, 64, 2))
    monkeypatch.setattr(cpu, "_MOST_BYTES", 8 << 20)


def needs_compiler() -> None:
    try:
        native.compiler()
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("brief")
def test_limits_are_positive_and_name_their_units(fresh_load: Path) -> None:
    needs_compiler()
    limits, _ = cpu_limits([1, 2], quick=True)
    assert all(NAME.fullmatch(name) for name in limits)
    assert all(math.isfinite(value) and value > 0.0 for value in limits.values())
    for end in ("1 thread", "2 threads"):
        assert {f"fp32 FMA GFLOP/s, {end}", f"torch sgemm GFLOP/s, {end}"} <= set(limits)
        assert {f"{verb} GB/s from memory, {end}" for verb in ("read", "copy")} <= set(limits)
    assert roofline(1e9, 1e9, limits, 2).seconds > 0.0
    assert len(list(fresh_load.iterdir())) == 1, "a build folder was left"


@pytest.mark.usefixtures("brief", "fresh_load")
def test_without_a_compiler_the_limits_are_left_out_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv("CXX", raising=False)
    limits, notes = cpu_limits([1], quick=True)
    assert list(limits) == ["torch sgemm GFLOP/s, 1 thread"]
    assert any("no C++ compiler" in note and "not measured" in note for note in notes)


@pytest.mark.usefixtures("fresh_load")
def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text("#!/bin/sh\necho 'error: no C++20 here' >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(Unavailable, match=r"broken-c\+\+ does not build .*no C\+\+20 here"):
        native.load()


def test_two_builds_at_once_end_with_one_library(fresh_load: Path) -> None:
    needs_compiler()
    script = "from bench.limits import native; print(native.load().float_instructions)"
    root = Path(__file__).parents[2]
    runs = [
        subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    printed = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert printed[0] == printed[1] != b""
    (library,) = fresh_load.iterdir()
    library.write_bytes(b"half a file")
    assert native.load().float_instructions
    assert library.stat().st_size > 1000


def test_a_matmul_above_the_peak_is_doubted() -> None:
    limits = {"fp32 FMA GFLOP/s, 1 thread": 100.0, "torch sgemm GFLOP/s, 1 thread": 99.0}
    assert cpu._doubts(limits, [1]) == []
    (note,) = cpu._doubts({**limits, "torch sgemm GFLOP/s, 1 thread": 120.0}, [1])
    assert "more than the measured peak" in note


@pytest.mark.parametrize(
    ("flops", "moved", "expected"),
    [
        (4e9, 1e8, Roofline(0.02, "fp32 FMA GFLOP/s, 1 thread")),
        (1e6, 1e9, Roofline(0.02, "copy GB/s from memory, 1 thread")),
    ],
)
def test_the_tighter_limit_binds(flops: float, moved: float, expected: Roofline) -> None:
    found = roofline(flops, moved, LIMITS, 1)
    assert found.bound == expected.bound
    assert found.seconds == pytest.approx(expected.seconds)
    assert share(0.04, flops, moved, LIMITS, 1) == pytest.approx(0.5)


def test_other_precisions_and_devices_have_their_own_peak() -> None:
    assert roofline(4e9, 1.0, LIMITS, 1, precision="bf16").bound == "bf16 GFLOP/s, 1 thread"
    gpu = {
        "fp32 matmul TFLOP/s": 50.0,
        "tf32 matmul TFLOP/s": 400.0,
        "read GB/s from device memory": 3000.0,
    }
    found = roofline(4e12, 1e9, gpu, 1)
    assert found.bound == "tf32 matmul TFLOP/s"
    assert found.seconds == pytest.approx(0.01)
    assert roofline(4e12, 1e9, gpu, 1, precision="fp32").seconds == pytest.approx(0.08)


@pytest.mark.parametrize("limits", [{}, {"read GB/s from memory, 1 thread": 40.0}])
def test_a_missing_limit_is_named(limits: dict[str, float]) -> None:
    with pytest.raises(BenchError, match="fp32 FMA GFLOP/s, 1 thread"):
        roofline(1.0, 1.0, limits, 1)
    with pytest.raises(BenchError, match="2 threads"):
        roofline(1.0, 1.0, LIMITS, 2)
    with pytest.raises(BenchError, match="positive"):
        share(0.0, 1.0, 1.0, LIMITS, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_device_is_said() -> None:
    with pytest.raises(Unavailable, match="no CUDA device"):
        cuda_limits(quick=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_limits_are_positive() -> None:
    limits = cuda_limits(quick=True)
    assert all(math.isfinite(value) and value > 0.0 for value in limits.values())
    assert all(re.search(r"TFLOP/s|GB/s|\bus\b", name) for name in limits)
    assert roofline(1e12, 1e9, limits, 1, precision="fp32").seconds > 0.0
