"""Pages hold what the records say: each piece between markers, and what is wrong with a marker."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.outputs import render_pages, shows
from bench.peers.registry import contenders
from bench.record import Record, Row
from bench.render import agreement, goals, markdown, pages
from bench.suites.registry import SUITES
from bench.suites.training import CONTENDERS, workloads
from bench.workloads import find_workloads
from bench_records import record

PIECES = {
    "table lookup seed-512": "| **spinlock torch** | 2.00 ms |",
    "table curves K": "K^1.00",
    "ratios lookup": "| lookup | ragged-4096 | spinlock torch | 0.40x | 4.5x |",
    "ratios lookup cpu": "| lookup | ragged-4096 | spinlock torch | 0.40x | 4.5x |",
    "goals": "| lookup | seed-512 | spinlock cpp |",
    "goals seed-4096": "| lookup | seed-4096 | spinlock cpp |",
    "slower 'spinlock torch'": "| lookup | seed-512 | fast peer | time | 0.40x |",
    "agreement r.json": "Of 5 ratios that both runs hold",
    "picture images/x.png bars lookup": "![bars lookup](images/x.png)",
    "limits": "| fp32 FMA GFLOP/s | 100 | 200 |",
    "environment": "a\\|b CPU",
    "noise": "- another process kept",
    "record": "## Noise",
    "record 4": "#### Noise",
}
INSIDE = {
    "ratio lookup seed-512 'spinlock torch' 'slow peer'": "4.5x",
    "figure training seed-shape 'spinlock torch' 'held-out MSE'": "0.25",
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "r.json").write_text(record().to_json(), encoding="utf-8")
    return tmp_path


def marked(spec: str, body: str = "") -> str:
    return f"<!-- bench: {spec} -->{body}<!-- end -->"


@pytest.mark.parametrize(("piece", "expected"), PIECES.items(), ids=PIECES)
def test_a_piece_stands_between_its_markers(results: Path, piece: str, expected: str) -> None:
    page = f"before\n\n{marked(f'r.json {piece}', 'stale')}\n\nafter\n"
    filled = pages.rendered(page, results)
    assert expected in filled
    assert "stale" not in filled
    assert filled.startswith(f"before\n\n<!-- bench: r.json {piece} -->\n")
    assert filled.endswith("\n<!-- end -->\n\nafter\n")
    assert pages.rendered(filled, results) == filled


@pytest.mark.parametrize(("piece", "expected"), INSIDE.items())
def test_a_number_stays_inside_its_sentence(results: Path, piece: str, expected: str) -> None:
    filled = pages.rendered(f"It is {marked(f'r.json {piece}')} here.", results)
    assert filled == f"It is {marked(f'r.json {piece}', expected)} here."


def test_a_record_that_may_come_later(results: Path) -> None:
    page = marked("later.json? record 3")
    assert "There is no such record yet" in pages.rendered(page, results)
    assert pages.pictures(marked("later.json? picture x.png bars"), results) == []
    (results / "later.json").write_text(record().to_json(), encoding="utf-8")
    assert "### Noise" in pages.rendered(page, results)


@pytest.mark.parametrize(
    ("marker", "complaint"),
    [
        ("<!-- bench: r.json limits -->", "without its"),
        ("<!-- bench: r.json limits --><!-- bench: r.json noise --><!-- end -->", "before the"),
        (marked("r.json"), "expected a file and a piece"),
        (marked("none.json limits"), "none.json"),
        (marked("r.json speed"), "expected one of table"),
        (marked("r.json table lookup"), "takes 2 names"),
        (marked("r.json table lookup none"), "'lookup seed-512'"),
        (marked("r.json ratios none"), "expected a suite"),
        (marked("r.json ratios all graph"), "expected a clock of cpu"),
        (marked("r.json ratio lookup seed-512 a b"), "two contenders"),
        (marked("r.json figure training seed-shape a b"), "'spinlock torch' 'held-out MSE'"),
        (marked("r.json slower 'spinlock cpp'"), "got 'spinlock cpp'"),
        (marked("r.json agreement none.json"), "none.json"),
        (marked("r.json agreement empty.json"), "timed cases in common"),
        (marked("r.json goals none"), "expected workloads that have one, got 'none'"),
        (marked("empty.json goals"), "expected a record of cpu or cuda"),
        (marked("r.json record 7"), "expected a level of headings, 1 to 6, got '7'"),
        (marked("r.json picture x.png pie"), "expected one of bars, roofline, curves"),
        (marked("r.json picture x.png bars none"), "got 'bars none'"),
        (marked("r.json picture x.png"), "takes 2 or 8 names"),
        (marked("r.json 'limits"), "quotation"),
    ],
)
def test_wrong_markers_are_named(results: Path, marker: str, complaint: str) -> None:
    (results / "empty.json").write_text(Record("", {}, {}, [], []).to_json(), encoding="utf-8")
    with pytest.raises(BenchError, match=complaint):
        pages.rendered(marker, results)


def test_pictures_are_drawn_beside_their_page_when_their_record_is_another(results: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    page, picture = results / "page.md", results / "x.png"
    file = results / "r.json"
    page.write_text(marked(f"{file} picture x.png bars lookup"), encoding="utf-8")
    render_pages([page])
    (found,) = pages.pictures(page.read_text(encoding="utf-8"), results)
    assert {row.suite for row in found.record.rows} == {"lookup"}
    assert shows(picture, found.record)
    made = picture.stat().st_mtime_ns
    render_pages([page])
    assert picture.stat().st_mtime_ns == made
    file.write_text(replace(record(), noise=[]).to_json(), encoding="utf-8")
    render_pages([page])
    assert not shows(picture, found.record)


def slowed(times: float) -> Record:
    """The same record, in which spinlock torch is that many times slower than it was."""
    rows = [
        replace(
            row,
            timings=tuple(
                replace(t, speedup={peer: s / times for peer, s in t.speedup.items()})
                for t in row.timings
            ),
        )
        if row.contender == "spinlock torch"
        else row
        for row in record().rows
    ]
    return replace(record(), rows=rows)


def test_records_agree_within_a_tenth_or_the_exceptions_are_named() -> None:
    assert [pair.apart for pair in agreement.pairs(record(), record())] == [0.0] * 5
    near, far = agreement.text(record(), slowed(1.05)), agreement.text(record(), slowed(1.25))
    assert "5 agree within 10%; half of them are within 5.0%." in near
    assert "The others" not in near
    assert "1 agree within 10%" in far
    assert "| lookup | seed-512 | spinlock torch | slow peer | 4.5x | 3.6x | 25% |" in far


def test_a_peer_is_slower_everywhere_or_is_shown() -> None:
    assert "In no case" in markdown.slower(slowed(0.1), "spinlock torch")
    assert markdown.slower(record(), "spinlock torch").count("fast peer") == 2
    own = Row("memory", "seed-512", "spinlock torch", figures={"MB of a lookup": 2.0})
    peers = [
        replace(own, contender=name, figures={"MB of a lookup": size})
        for name, size in (("lean", 1.0), ("fat", 3.0))
    ]
    text = markdown.slower(replace(record(), rows=[own, *peers]), "spinlock torch")
    assert "| memory | seed-512 | lean | MB of a lookup | 0.50x |" in text
    assert "fat" not in text


def test_goals_name_what_there_is() -> None:
    names = {contender.name for contender in contenders(None)}
    jobs = {workload.name for workload in workloads(quick=False)}
    runs = {contender.name for contender in CONTENDERS}
    for device, wanted in goals.GOALS.items():
        shapes = {workload.name for workload in find_workloads("all", device)}
        for goal in wanted:
            assert goal.suite in SUITES
            training = goal.suite == "training"
            assert goal.workload in (jobs if training else shapes)
            assert {goal.own, *goal.peers} <= (runs if training else names)


def whole_run(must: float, hoped: float, *peers: str) -> goals.Goal:
    job = ("training", "seed-shape", "spinlock torch")
    return goals.Goal(*job, must, hoped, peers, "figure", "held-out MSE")


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        (
            goals.Goal("lookup", "seed-512", "spinlock torch", 4.0, 4.5, ("slow peer",)),
            4.5,
            "met, as",
        ),
        (
            goals.Goal("lookup", "seed-512", "spinlock torch", 4.0, 5.0, ("slow peer",)),
            4.5,
            "met |",
        ),
        (
            goals.Goal("lookup", "seed-512", "spinlock torch", 1, 2, ("slow peer", "fast peer")),
            *(0.4, "**missed**"),
        ),
        (goals.Goal("lookup", "seed-512", "spinlock torch", 0.2, 0.3, kind="share"), 0.1, "**miss"),
        (
            goals.Goal(
                "lookup", "seed-512", "spinlock torch", 3e-3, 2e-3, kind="seconds", name="cpu"
            ),
            *(2e-3, "met, as"),
        ),
        (
            goals.Goal("exactness", "seed-512", "spinlock torch", 1.4, 0.9, kind="cost"),
            1.2,
            "met |",
        ),
        (whole_run(0.3, 0.2), 0.25, "**missed**"),
        (whole_run(2.0, 3.0, "slow peer"), 3.0, "met, as hoped"),
        (whole_run(2.0, 3.0, "wrong peer"), None, "not measured"),
        (
            goals.Goal("lookup", "none", "spinlock torch", 1, 2, ("slow peer",)),
            None,
            "not measured",
        ),
        (
            goals.Goal("lookup", "seed-512", "wrong peer", 1, 2, ("slow peer",)),
            None,
            "not measured",
        ),
    ],
)
def test_a_goal_is_compared_with_what_was_measured(
    goal: goals.Goal, value: float | None, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert goals.reached(goal, record()) == (None if value is None else pytest.approx(value))
    monkeypatch.setattr(goals, "GOALS", {"cpu": (goal,)})
    assert verdict in goals.goals_table(record())
