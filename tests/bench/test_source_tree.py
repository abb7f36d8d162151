"""The bench runs from a checkout where spinlock is not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

import spinlock
import spinlock._C
from bench import source_tree

ROOT = Path(__file__).parents[2]
# Takes off the import path what an editable install has put there, and runs the command.
UNINSTALLED = """
import importlib.util, pathlib, sys
build, root, *arguments = sys.argv[1:]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in type(f).__module__]
sys.path[:] = [p for p in sys.path if p != root + "/python"]
place = root + "/bench/source_tree.py"
spec = importlib.util.spec_from_file_location("bench.source_tree", place)
module = sys.modules["bench.source_tree"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert not module._installed(), "the test could not hide the installed spinlock"
module.BUILD = pathlib.Path(build)
from bench.cli import main
import spinlock
assert spinlock.__file__.startswith(root), spinlock.__file__
sys.exit(main(arguments))
"""


def test_the_checkout_is_used_with_a_core_that_was_built_for_it(tmp_path: Path) -> None:
    if not Path(spinlock.__file__).is_relative_to(ROOT):
        pytest.skip("spinlock is installed as a copy")
    core = Path(spinlock._C.__file__)
    (tmp_path / core.name).symlink_to(core)
    done = subprocess.run(
        [sys.executable, "-c", UNINSTALLED, str(tmp_path), str(ROOT), "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "spinlock torch: ready" in done.stdout


def test_an_installed_spinlock_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(sys.path)
    monkeypatch.setattr(source_tree, "build", lambda: pytest.fail("built without a need"))
    source_tree.make_importable()
    assert sys.path == before


def test_without_cmake_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"cmake is not on the PATH\n.*pip install -e"):
        source_tree.build()
