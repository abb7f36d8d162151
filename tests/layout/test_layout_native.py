"""The C++ core by itself, on exactly sized buffers, under the address and UB sanitizers."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = os.environ.get("CXX", "c++")


def run(*command: str | Path) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


def require_sanitizers(folder: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not on the PATH")
    source = folder / "empty.cpp"
    source.write_text("int main() {}\n")
    flags = ["-fsanitize=address,undefined", "-o", str(folder / "empty")]
    try:
        linked = subprocess.run([COMPILER, str(source), *flags], capture_output=True)
    except FileNotFoundError:
        pytest.skip(f"no C++ compiler {COMPILER}")
    if linked.returncode != 0:
        pytest.skip(f"{COMPILER} cannot link the address and UB sanitizers here")


@pytest.mark.long
def test_the_core_touches_only_its_buffers(tmp_path: Path) -> None:
    require_sanitizers(tmp_path)
    build = tmp_path / "build"
    # Compiling takes longer than a moment's fuzzing; 6 s at -O0 are the problems of 2 s at -O1.
    options = ["-DSPINLOCK_SANITIZE=ON", "-DSPINLOCK_SANITIZE_LEVEL=0"]
    run("cmake", "-S", ROOT, "-B", build, *options)
    run("cmake", "--build", build)
    run(build / "native_check")
    run(build / "native_fuzz", "6")
