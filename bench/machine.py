"""What a record says of the machine and the versions; never a user, a host or a path."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spinlock

__all__ = [
    "CacheLevel",
    "cache_levels",
    "cache_sizes",
    "environment",
    "memory_bytes",
    "usable_cpus",
]

_ROOT = Path(__file__).parents[1]
_SYSTEM = Path("/sys/devices/system/cpu")
_SIMD = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16",
         "asimd", "sve", "bf16")  # fmt: skip


@dataclass(frozen=True)
class CacheLevel:
    """One level of data cache.

    Attributes:
        name: ``L1d``, ``L2``, ``L3``.
        size: bytes of one instance.
        shared_by: how many logical CPUs share an instance.
        source: where that was read.
    """

    name: str
    size: int
    shared_by: int
    source: str


def usable_cpus() -> set[int]:
    """The logical CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def memory_bytes() -> int:
    """The machine's memory; 0 where it cannot be known."""
    match = re.search(r"^MemTotal:\s*(\d+) kB", _text(Path("/proc/meminfo")) or "", re.MULTILINE)
    return int(match[1]) << 10 if match else int(_output(["sysctl", "-n", "hw.memsize"]) or 0)


def cache_sizes() -> dict[str, int]:
    """Bytes of one instance of each level of data cache; empty where they cannot be known."""
    return {level.name: level.size for level in cache_levels()}


def cache_levels(system: Path = _SYSTEM) -> list[CacheLevel]:
    """The levels of data cache that the first usable CPU has, smallest first.

    Read from sysfs; else from sysconf or sysctl, which know neither who shares a level nor, on
    some machines, that a figure is the sum over all instances.
    """
    return _from_sysfs(system) or _from_sysconf() or _from_sysctl()


def _from_sysfs(system: Path) -> list[CacheLevel]:
    found: dict[str, CacheLevel] = {}
    for index in sorted(system.glob(f"cpu{min(usable_cpus())}/cache/index*")):
        kind, level, size = (_text(index / name) for name in ("type", "level", "size"))
        match = re.fullmatch(r"(\d+)([KMG]?)", size or "")
        if kind not in ("Data", "Unified") or not match or not level:
            continue
        count = _listed(_text(index / "shared_cpu_list") or "")
        amount = int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]
        name = "L1d" if level == "1" else f"L{level}"
        found[name] = CacheLevel(name, amount, count, "sysfs")
    return sorted(found.values(), key=lambda cache: cache.name)


def _listed(text: str) -> int:
    """How many CPUs a list of ranges names, at least one.

    >>> _listed("0-3,8"), _listed("5")
    (5, 1)
    """
    bounds = [part.split("-") for part in text.split(",") if part]
    return max(1, sum(int(pair[-1]) - int(pair[0]) + 1 for pair in bounds))


def _from_sysconf() -> list[CacheLevel]:
    names = {"L1d": "SC_LEVEL1_DCACHE_SIZE", "L2": "SC_LEVEL2_CACHE_SIZE"}
    names["L3"] = "SC_LEVEL3_CACHE_SIZE"
    sizes = {name: os.sysconf(key) for name, key in names.items() if key in os.sysconf_names}
    return _guessed(sizes, "sysconf")


def _from_sysctl() -> list[CacheLevel]:
    if platform.system() != "Darwin":
        return []
    sizes = {}
    for name, key in (("L1d", "hw.l1dcachesize"), ("L2", "hw.l2cachesize"),
                      ("L3", "hw.l3cachesize")):  # fmt: skip
        sizes[name] = int(_output(["sysctl", "-n", key]) or 0)
    return _guessed(sizes, "sysctl")


def _guessed(sizes: Mapping[str, int], source: str) -> list[CacheLevel]:
    everyone = len(usable_cpus())
    return [
        CacheLevel(name, size, everyone if name == "L3" else 1, source)
        for name, size in sizes.items()
        if size > 0
    ]


def environment(device: str, threads: int, peers: Mapping[str, str | None]) -> dict[str, Any]:
    """Machine, versions and date behind a record.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: CPU threads that were allowed.
        peers: package -> its version, or None where it is not installed or the caller does not
            know it; it is then looked up by that name.
    """
    found: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": device,
        "threads": threads,
        "cpu": _cpu_model(),
        "cores": _cores(),
        "caches": {level.name: _size(level.size) for level in cache_levels()},
        "simd": _simd(),
        "memory": _size(memory_bytes()),
        "system": f"{platform.system()} {_kernel()} {platform.machine()}",
        "governor": _text(_SYSTEM / f"cpu{min(usable_cpus())}" / "cpufreq" / "scaling_governor"),
        "virtualised": _virtualised(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "torch built with": _torch_build(),
        "spinlock": spinlock.__version__,
        "commit": _commit(),
        "peers": {name: version or _version(name) for name, version in peers.items()},
    }
    if device != "cpu":
        found |= _gpu(device)
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _cpu_model() -> str:
    text = _text(Path("/proc/cpuinfo")) or ""
    names = re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return names[0] if names else _output(["sysctl", "-n", "machdep.cpu.brand_string"]) or "unknown"


def _cores() -> str:
    usable = usable_cpus()
    topology = (_SYSTEM / f"cpu{cpu}" / "topology" / "thread_siblings_list" for cpu in usable)
    physical = len({_text(path) or str(path) for path in topology})
    text = f"{physical} ({len(usable)} logical)" if physical < len(usable) else f"{len(usable)}"
    present = os.cpu_count() or len(usable)
    return text if present <= len(usable) else f"{text} of {present} usable"


def _kernel() -> str:
    """The kernel's version; what a builder appended to it is nobody's business."""
    match = re.match(r"[\d.]+\d", platform.release())
    return match[0] if match else ""


def _simd() -> list[str]:
    text = _text(Path("/proc/cpuinfo")) or ""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    have = set(match[1].split()) if match else set()
    return [name for name in _SIMD if name in have]


def _virtualised() -> str:
    text = _text(Path("/proc/cpuinfo"))
    if text is None:
        return "unknown"
    return "yes" if re.search(r"^flags\s*:.*\bhypervisor\b", text, re.MULTILINE) else "not said"


def _torch_build() -> str:
    """BLAS, OpenMP and vector width that torch was built with, in short."""
    text = torch.__config__.show()
    patterns = (r"BLAS_INFO=([\w-]+)", r"OpenMP (\d+)", r"CPU capability usage: ([\w ]+)")
    found = [match[1].strip() if (match := re.search(p, text)) else "" for p in patterns]
    parts = zip(("BLAS", "OpenMP", "vectors"), found, strict=True)
    return ", ".join(f"{name} {value}" for name, value in parts if value)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return "not installed"


def _commit() -> str | None:
    """The tree's commit, and whether files differ from it; None outside of git."""
    commit = _output(["git", "-C", str(_ROOT), "rev-parse", "--short=12", "HEAD"])
    if not commit:
        return None
    changed = _output(["git", "--no-optional-locks", "-C", str(_ROOT), "status", "--porcelain"])
    return f"{commit}, with changes" if changed else commit


def _gpu(device: str) -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {}
    properties = torch.cuda.get_device_properties(torch.device(device))
    found = {
        "gpu": properties.name,
        "gpu memory": _size(properties.total_memory),
        "gpu capability": f"{properties.major}.{properties.minor}",
        "gpu multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda or torch.version.hip,
    }
    fields = {
        "driver": "driver_version",
        "gpu clock": "clocks.sm",
        "gpu top clock": "clocks.max.sm",
    }
    query = ["nvidia-smi", f"--query-gpu={','.join(fields.values())}", "--format=csv,noheader"]
    uuid = getattr(properties, "uuid", None)
    answer = _output([*query, f"--id=GPU-{uuid}"] if uuid is not None else query)
    values = [value.strip() for value in (answer or "").partition("\n")[0].split(",")]
    if len(values) == len(fields):
        found |= dict(zip(fields, values, strict=True))
    return found


def _size(size: int) -> str:
    """Bytes in binary units.

    >>> _size(49152), _size(32 << 20)
    ('48 KiB', '32 MiB')
    """
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.3g} {unit}"
    return f"{size} B" if size else ""


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _output(command: list[str]) -> str | None:
    """What a command prints; None where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
