"""The pictures of a record: drawn from whatever it has, refused with one sentence."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.record import Record
from bench.render import plots
from bench_records import record

EMPTY = Record("python -m bench", {}, {}, [], [])


@pytest.mark.parametrize("found", [record(), EMPTY], ids=["full", "empty"])
def test_one_picture_of_everything(found: Record, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / "all.png"
    plots.plot(found, path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", plots.KINDS)
def test_each_picture_alone_says_what_it_was_made_from(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / "one.png"
    plots.plot(record(), path, [kind])
    assert path.stat().st_size > 5000
    assert plots.source_of(record()).encode() in path.read_bytes()
    assert plots.source_of(record()) != plots.source_of(EMPTY)


@pytest.mark.parametrize("kinds", [["pie"], []])
def test_an_unknown_picture_is_named(kinds: list[str], tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="expected some of bars, roofline, curves"):
        plots.plot(record(), tmp_path / "x.png", kinds)


def test_a_case_of_peers_alone_or_of_one_contender_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    for keep in ({"fast peer", "wrong peer"}, {"spinlock torch"}):
        rows = [row for row in record().rows if row.contender in keep]
        plots.plot(replace(record(), rows=rows, limits={}), tmp_path / "few.png")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    with pytest.raises(BenchError, match=r"none/x\.png: cannot be written"):
        plots.plot(record(), tmp_path / "none" / "x.png")


def test_without_matplotlib_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("matplotlib", "bench.render"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BenchError, match="pip install matplotlib"):
        plots.plot(record(), tmp_path / "x.png")
