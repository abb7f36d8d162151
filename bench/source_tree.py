"""Makes ``import spinlock`` work from a checkout where the package is not installed.

An installed spinlock is used as it is.  Otherwise the checkout's own sources are, and the C++ core
is built once into ``build/source-tree`` with CMake.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["make_importable"]

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "source-tree"


def make_importable() -> None:
    """Does nothing where spinlock is installed.

    Raises:
        SystemExit: the C++ core cannot be built, with what is missing.
    """
    if _installed():
        return
    sys.path.insert(0, str(ROOT / "python"))
    if not list(BUILD.glob("_C*")):
        print(f"spinlock is not installed: building its C++ core in {BUILD}", file=sys.stderr)
        build()
    import spinlock

    # kernels/ of the checkout is spinlock.kernels, as in an installed package.
    spinlock.__path__ += [str(BUILD), str(ROOT)]


def _installed() -> bool:
    """A folder of that name without an ``__init__.py``, a namespace, isn't spinlock; nor is
    ``python/`` on the path alone, which worker processes of pytest inherit.
    """
    found = importlib.util.find_spec("spinlock")
    if found is None or found.origin is None:
        return False
    return importlib.util.find_spec("spinlock.kernels") is not None


def build() -> None:
    """Configures and builds the extension module with the running Python."""
    steps = [
        ["cmake", "-S", str(ROOT), "-B", str(BUILD), f"-DPython_EXECUTABLE={sys.executable}"],
        ["cmake", "--build", str(BUILD), "--parallel", str(os.cpu_count() or 2)],
    ]
    steps[0] += _pybind11()
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True)
        except FileNotFoundError:
            raise SystemExit(_remedy("cmake is not on the PATH")) from None
        if done.returncode != 0:
            raise SystemExit(_remedy((done.stderr or done.stdout).strip()))
    suffixes = importlib.machinery.EXTENSION_SUFFIXES
    if not any((BUILD / f"_C{suffix}").exists() for suffix in suffixes):
        raise SystemExit(_remedy(f"no _C{suffixes[0]} came out of the build"))


def _pybind11() -> list[str]:
    if importlib.util.find_spec("pybind11") is None:
        return []  # CMake may know one of the system's
    folder = importlib.import_module("pybind11").get_cmake_dir()
    return [f"-Dpybind11_DIR={folder}"]


def _remedy(reason: str) -> str:
    return (
        f"spinlock is not installed and its C++ core cannot be built: {reason}\n"
        "Run `make setup` and .venv/bin/python -m bench, or `pip install -e .` first; "
        "building from the checkout needs cmake, a C++ compiler and `pip install pybind11`."
    )
