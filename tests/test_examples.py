"""Every ``>>>`` example, in docstrings and in Markdown, says what really happens."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import spinlock

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_names() -> list[str]:
    walked = pkgutil.walk_packages(spinlock.__path__, "spinlock.")
    return ["spinlock", *sorted(m.name for m in walked if not m.name.endswith(("_C", "__main__")))]


def test_the_walk_finds_the_modules() -> None:
    assert {"spinlock.layout", "spinlock.modules.ragged"} <= set(module_names())


@pytest.mark.parametrize("name", module_names())
def test_docstring_examples(name: str) -> None:
    if name.startswith("spinlock.integrations."):
        pytest.importorskip(name.rpartition(".")[2])
    results = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert results.failed == 0, f"{results.failed} of {results.attempted} examples failed"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_page_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(page), module_relative=False, optionflags=OPTIONS)
    assert results.failed == 0, f"{results.failed} of {results.attempted} examples failed"
