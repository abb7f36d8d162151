"""What the package promises about itself."""

import re
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import spinlock

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_version_is_the_distributions() -> None:
    assert spinlock.__version__ == version("spinlock-vq")


def test_torch_is_a_range_in_the_package_and_pinned_for_ci() -> None:
    assert "torch>=2.6" in (requires("spinlock-vq") or [])
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def test_no_build_is_tied_to_the_builders_cpu() -> None:
    files = [ROOT / "CMakeLists.txt", ROOT / "pyproject.toml", *(ROOT / "csrc").rglob("*")]
    for path in (p for p in files if p.is_file()):
        code = "\n".join(
            line for line in path.read_text().splitlines() if not line.strip().startswith("#")
        )
        assert "-march=native" not in code, path.name
        assert "-mcpu=native" not in code, path.name


def test_wheels_are_declared_for_linux_and_apple_silicon() -> None:
    wheels = PYPROJECT["tool"]["cibuildwheel"]
    assert "x86_64" in wheels["linux"]["archs"]
    assert wheels["linux"]["manylinux-x86_64-image"].startswith("manylinux")
    assert wheels["macos"]["archs"] == ["arm64"]
