"""The kernels under Triton's interpreter, in a process of their own."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = [str(ROOT / "tests" / name) for name in ("kernel_suite.py", "kernel_edges.py")]


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_kernel_suite_passes_under_the_interpreter() -> None:
    import triton

    if triton.__version__.startswith("3.3."):
        pytest.skip("the interpreter of triton 3.3 has no booleans")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    # numpy says of NaN rows what a GPU keeps to itself.
    quiet = ["-W", "ignore::RuntimeWarning", "-W", "ignore::UserWarning"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *quiet]
    done = subprocess.run(
        [*command, *SUITE], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 120
