"""Ahead of time: every variant compiles for GPUs that are not there, and its machine code is kept.

``tests/kernels/resources.json`` holds registers, stack bytes and the length of the matrix loop per
variant and architecture; it changes only in a commit that says why, by
``python tests/kernels/test_compiled.py``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("resources.json")
ARCHITECTURES = (80, 90, 100)
# Codes and dims per quantizer: small, one of each packed width with few and with many codes.
BANKS = [
    ((32, 16), (12, 20)),
    ((512, 512, 512, 512), (16, 32, 64, 128)),
    ((2048, 1024), (64, 256)),
    ((600,), (512,)),
]


def launches(architecture: int = 90) -> list[object]:
    from spinlock.kernels import launch

    from ahead_of_time import recorded
    from spinlock.layout import CodebookLayout
    from spinlock.ops._triton import bank_of

    with recorded(architecture) as found:
        for sizes, dims in BANKS:
            layout = CodebookLayout(sizes, dims)
            bank = bank_of(layout, torch.device("cpu"))
            rows, weight = torch.zeros(2048, layout.input_width), torch.zeros(layout.weight_size)
            averages = launch.Averages(
                torch.ones(layout.total_codes),
                weight.clone(),
                torch.zeros(layout.total_codes, dtype=torch.int64),
                torch.zeros(layout.num_quantizers, dtype=torch.int64),
                0.99,
                1e-5,
            )
            step = launch.quantize(rows, weight, bank, averages)
            launch.nearest(rows, weight, bank)
            losses = torch.zeros(layout.num_quantizers)
            launch.backward(rows, step.quantized, step.counts, rows, losses, bank)
    return list(found)


def measured(architecture: int) -> dict[str, dict[str, object]]:
    from triton.backends.compiler import GPUTarget

    from ahead_of_time import compiled, report

    target = GPUTarget("cuda", architecture, 32)
    return {entry.name: asdict(report(compiled(entry, target))) for entry in launches(architecture)}


def test_the_record_is_of_the_triton_that_ci_installs() -> None:
    """With another one the comparison below would be skipped there."""
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    version = json.loads(RECORD.read_text(encoding="utf-8"))["triton"]
    assert f"\ntriton=={version};" in pinned


@pytest.mark.long
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_machine_code_is_as_recorded(architecture: int) -> None:
    import triton

    record = json.loads(RECORD.read_text(encoding="utf-8"))
    if triton.__version__ != record["triton"]:
        pytest.skip(f"recorded with triton {record['triton']}, this is {triton.__version__}")
    expected = record["architectures"][str(architecture)]
    found = measured(architecture)
    assert set(found) == set(expected)
    for name, now in found.items():
        before = expected[name]
        assert now["registers"] <= 255, name
        assert now["stack"] <= before["stack"], name
        for figure in ("registers", "loop"):
            assert abs(now[figure] - before[figure]) <= 0.05 * before[figure], (name, figure)
        if name.startswith("first_pass"):
            assert now["matrix"], name
            assert any(".128" in load for load in now["loads"]), name


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_one_variant_of_each_kernel_compiles_for_amd() -> None:
    import triton
    from triton.backends.compiler import GPUTarget

    if triton.__version__.startswith("3.3."):
        pytest.skip("triton 3.3 has no linker for AMD in its package")

    from ahead_of_time import KERNELS, compiled

    seen = set()
    for entry in launches():
        if entry.kernel in seen:
            continue
        seen.add(entry.kernel)
        constants = tuple((key, key != "NVIDIA" and value) for key, value in entry.constants)
        assert compiled(replace(entry, constants=constants), GPUTarget("hip", "gfx942", 64)).asm[
            "hsaco"
        ]
    assert len(seen) == len(KERNELS)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import triton

    RECORD.write_text(
        json.dumps(
            {
                "triton": triton.__version__,
                "architectures": {str(a): measured(a) for a in ARCHITECTURES},
            },
            indent=1,
            sort_keys=True,
        )
        + "\n",
        encoding="utf-8",
    )
