"""Builds ``machine_limits.cpp`` with the system's C++ compiler and calls it.

The library is kept per user, under a name made of the source, the flags and the compiler's
version, so that it is built once; two builds at the same time end with the same file.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from bench.errors import Unavailable

__all__ = ["MachineLimits", "compiler", "load"]

SOURCE = Path(__file__).with_name("machine_limits.cpp")
_HEADERS = ("multiply_add.hpp", "streams.hpp")
FLAGS = ("-std=c++20", "-O3", "-fPIC", "-shared", "-pthread", "-ffp-contract=fast")
_COMPILERS = ("c++", "g++", "clang++")
_COMPILE_SECONDS = 180


class MachineLimits:
    """The compiled measurements.

    Rates of all threads together; None where the machine has no such instruction.  Each waits for
    ``bursts`` bursts of about ``seconds``, after a search for how much work that is.
    """

    def __init__(self, library: Path) -> None:
        """Loads the library.

        Raises:
            OSError: it cannot be loaded.
        """
        found = ctypes.CDLL(str(library))
        threads, count, seconds = ctypes.c_int, ctypes.c_int, ctypes.c_double
        size, flag = ctypes.c_uint64, ctypes.c_int
        signatures = {
            "limits_float_gflops": [threads, count, seconds],
            "limits_bf16_gflops": [threads, count, seconds],
            "limits_read_rate": [threads, size, count, seconds],
            "limits_copy_rate": [threads, size, count, seconds, flag],
        }
        for name, arguments in signatures.items():
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, ctypes.c_double
        found.limits_float_name.argtypes = []
        found.limits_float_name.restype = ctypes.c_char_p
        self._library = found

    @property
    def float_instructions(self) -> str:
        """What the float32 peak was measured with."""
        return str(self._library.limits_float_name().decode())

    def float_gflops(self, threads: int, bursts: int, seconds: float) -> float:
        """float32 multiply-adds, two operations each: the best burst, in GFLOP/s."""
        return float(self._library.limits_float_gflops(threads, bursts, seconds))

    def bf16_gflops(self, threads: int, bursts: int, seconds: float) -> float | None:
        """bfloat16 dot products into float32: the best burst, in GFLOP/s."""
        return _measured(self._library.limits_bf16_gflops(threads, bursts, seconds))

    def read_rate(self, threads: int, size: int, bursts: int, seconds: float) -> float | None:
        """Reading ``size`` bytes per thread over and over: the median burst, in GB/s."""
        return _measured(self._library.limits_read_rate(threads, size, bursts, seconds))

    def copy_rate(
        self, threads: int, size: int, bursts: int, seconds: float, *, past_caches: bool
    ) -> float | None:
        """Copying ``size`` bytes per thread: the median burst, in GB/s read and written.

        Args:
            threads: how many.
            size: bytes of each of the two buffers of a thread.
            bursts: how many.
            seconds: of a burst.
            past_caches: with stores that go around the caches.
        """
        library = self._library
        return _measured(library.limits_copy_rate(threads, size, bursts, seconds, int(past_caches)))


def _measured(value: float) -> float | None:
    return value if value > 0.0 else None


def compiler() -> list[str]:
    """The C++ compiler's command: $CXX, c++, g++ or clang++, whichever comes first.

    Raises:
        Unavailable: there is none.
    """
    wanted = shlex.split(os.environ.get("CXX", ""))
    for command in ([wanted] if wanted else []) + [[name] for name in _COMPILERS]:
        if shutil.which(command[0]) is not None:
            return command
    raise Unavailable(f"no C++ compiler ($CXX, {', '.join(_COMPILERS)}) is on the PATH")


@cache
def load() -> MachineLimits:
    """The measurements, built first where this user has none of this source and compiler.

    Raises:
        Unavailable: no compiler, or one that does not build them; the message says which.
    """
    command = compiler()
    library = _folder() / f"machine_limits-{_key(command)}.so"
    if library.is_file():
        try:
            return MachineLimits(library)
        except (OSError, AttributeError):
            pass  # half a file, or from another machine that shares this home: build it again
    _build(command, library)
    try:
        return MachineLimits(library)
    except (OSError, AttributeError) as error:
        raise Unavailable(f"what {command[0]} built cannot be loaded: {error}") from error


def _key(command: list[str]) -> str:
    version = _run([*command, "--version"]).stdout
    files = (SOURCE, *map(SOURCE.with_name, _HEADERS))
    texts = [file.read_text(encoding="utf-8") for file in files]
    parts = (*texts, *FLAGS, *command[1:], version, platform.machine())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _folder() -> Path:
    """A folder of this user alone that can be written: the cache, else a temporary one."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = base / "spinlock-bench"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass  # no home, or one that is read-only
    return _temporary_folder()


@cache
def _temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="spinlock-bench-"))


def _build(command: list[str], library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="build-") as name:
        fresh = Path(name) / library.name
        done = _run([*command, *FLAGS, str(SOURCE), "-o", str(fresh)])
        if done.returncode != 0 or not fresh.is_file():
            lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
            reason = lines[0].replace(f"{SOURCE.parent}{os.sep}", "")
            raise Unavailable(f"{Path(command[0]).name} does not build {SOURCE.name}: {reason}")
        fresh.replace(library)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_COMPILE_SECONDS,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        name = Path(command[0]).name
        raise Unavailable(f"{name} could not be run: {type(error).__name__}") from error
