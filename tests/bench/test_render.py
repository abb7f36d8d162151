"""What people read of a record: nothing measured is lost, nothing refused has a speed."""

import doctest
import importlib
import io
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import bench
from bench.errors import BenchError
from bench.record import Record
from bench.render import markdown, plain, terminal
from bench.render.cells import blocks
from bench.render.fits import curves, exponent
from bench_records import record

ABSENT = {
    "wrong peer": "wrong: 12% of indices differ",
    "absent peer": "missing: pip install absent",
    "failed peer": "failed: RuntimeError: no",
    "long peer": "skipped: one call would take 99 s",
}


def in_terminal(found: Record, width: int = 200) -> str:
    out = io.StringIO()
    terminal.show(found, Console(file=out, width=width, highlight=False, emoji=False, markup=False))
    return out.getvalue()


@pytest.mark.parametrize("show", [in_terminal, plain.text, markdown.markdown])
def test_every_contender_is_shown_with_its_figures_or_its_reason(
    show: Callable[[Record], str],
) -> None:
    text = " ".join(show(record()).split())
    for expected in (
        *("spinlock torch", "fast peer", "slow peer", "a note of a fast peer"),
        *("2.00 ms", "1.80-2.40", "1.40 ms", "10.0", "1.05 MB", "0.01% / 85%"),
        "spinlock torch: 0.40x fast peer (slower), 4.5x slow peer",
        "K^1.00",
        "another process kept 1.0 of 2 cores busy",
        "2026-01-02",
    ):
        assert expected in text, expected
    for name, reason in ABSENT.items():
        assert name in text
        assert reason in text


def test_what_was_refused_has_no_figures() -> None:
    for block in blocks(record()):
        named = {line[0] for line in block.lines}
        assert not named & ABSENT.keys()
    lookup = blocks(record())[0]
    assert {absent.contender for absent in lookup.absent} == ABSENT.keys()


def test_cells_are_computed_from_the_medians() -> None:
    block = blocks(record())[0]
    names = [column.name.replace("\n", " ") for column in block.columns]
    own = dict(zip(names, block.lines[1], strict=True))
    assert block.lines[0][0] == "fast peer"
    assert block.own == {1}
    assert own["CPU time, 1 thread"] == "2.00 ms"
    assert own["wall, 2 threads"] == "1.40 ms"
    assert own["GFLOP/s"] == "10.0"
    assert own["slower"] == "x2.5"
    # 2e7 operations at 100 GFLOP/s take 0.2 ms, 1e6 bytes at 20 GB/s 0.05 ms
    assert own["of limit"] == "10%"


def test_a_narrow_terminal_says_what_it_leaves_out() -> None:
    text = in_terminal(record(), 60)
    assert "no room for:" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 60
    assert "spinlock torch" in text


def test_an_empty_record_can_be_shown() -> None:
    empty = Record("python -m bench", {}, {}, [], [])
    assert "nothing was measured" in in_terminal(empty)
    assert "nothing was measured" in plain.text(empty)
    assert "nothing disturbed the run" in markdown.markdown(empty)


def test_a_record_survives_json(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(record().to_json(), encoding="utf-8")
    assert Record.load(path) == record()
    path.write_text(record().to_json().replace('"format": 1', '"format": 9'), encoding="utf-8")
    with pytest.raises(BenchError, match="format 1"):
        Record.load(path)


def test_an_exponent_leaves_the_floor_out() -> None:
    own, peer = curves(record())
    assert own.time_fit == (1.0, 1.0)
    assert peer.time_fit is not None
    assert peer.time_fit[0] == pytest.approx(1.0, abs=0.01)
    assert own.memory_fit == (1.0, 1.0)
    with pytest.raises(BenchError, match="two or more"):
        exponent([4.0], [1.0])


def test_a_wrong_row_has_no_ratio() -> None:
    rows = [
        replace(row, status="wrong", timings=()) if row.contender == "spinlock torch" else row
        for row in record().rows
    ]
    text = markdown.ratios(replace(record(), rows=rows), "lookup")
    assert "| lookup | seed-512 | spinlock torch | wrong | wrong |" in text


@pytest.mark.parametrize(
    "name",
    [
        module.name
        for module in pkgutil.walk_packages(bench.__path__, "bench.")
        if not module.name.endswith(("__main__", "test_benchmarks"))
    ],
)
def test_docstring_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0, f"{results.failed} of {results.attempted} examples failed"
