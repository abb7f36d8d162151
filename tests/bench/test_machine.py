"""What a record says of the machine: enough to compare, nothing that names its owner."""

import getpass
import json
import platform
from pathlib import Path

import pytest

from bench import machine
from bench.machine import cache_levels, cache_sizes, environment


def _write_cache(system: Path, index: int, level: str, kind: str, size: str, cpus: str) -> None:
    folder = system / f"cpu{min(machine.usable_cpus())}" / "cache" / f"index{index}"
    folder.mkdir(parents=True)
    values = {"level": level, "type": kind, "size": size, "shared_cpu_list": cpus}
    for name, value in values.items():
        (folder / name).write_text(value + "\n", encoding="utf-8")


def test_caches_are_read_with_who_shares_them(tmp_path: Path) -> None:
    _write_cache(tmp_path, 0, "1", "Data", "48K", "0,64")
    _write_cache(tmp_path, 1, "1", "Instruction", "32K", "0,64")
    _write_cache(tmp_path, 2, "2", "Unified", "2M", "0,64")
    _write_cache(tmp_path, 3, "3", "Unified", "32768K", "0-7,64-71")
    found = [(level.name, level.size, level.shared_by) for level in cache_levels(tmp_path)]
    assert found == [("L1d", 48 << 10, 2), ("L2", 2 << 20, 2), ("L3", 32 << 20, 16)]


def test_without_sysfs_the_system_is_asked(tmp_path: Path) -> None:
    assert all(level.source in ("sysconf", "sysctl") for level in cache_levels(tmp_path))
    assert all(size > 0 for size in cache_sizes().values())


def test_the_environment_is_plain_and_complete() -> None:
    found = environment("cpu", 2, {"numpy": None, "no-such-package": None, "mine": "1.2"})
    assert json.loads(json.dumps(found)) == found
    assert {"date", "cpu", "cores", "system", "python", "numpy", "torch", "spinlock"} <= set(found)
    assert found["peers"] == {
        "numpy": found["numpy"],
        "no-such-package": "not installed",
        "mine": "1.2",
    }
    assert found["threads"] == 2
    assert "BLAS" in found["torch built with"]


def test_the_environment_names_no_user_host_or_path() -> None:
    text = json.dumps(environment("cpu", 1, {}))
    root = Path(__file__).parents[2]
    assert str(root) not in text
    assert str(Path.home()) not in text or str(Path.home()) == "/"
    for name in (platform.node(), getpass.getuser()):
        assert len(name) < 4 or f'"{name}"' not in text


def test_outside_of_git_the_commit_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    assert "commit" not in environment("cpu", 1, {})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "commit" not in environment("cpu", 1, {})
