"""A run of the bench that ends before its time, by an error or a signal, keeps what it has."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli import main
from bench.record import Record, Row
from bench.suites.registry import SUITES

QUICKLY = ["--seconds", "0.001", "--peers", "none", "--threads", "1"]

# Other packages' own affairs; warnings of our own still fail a test.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.usefixtures("known_limits")
@pytest.mark.parametrize(
    ("error", "code", "note"),
    [
        (KeyboardInterrupt(), 130, "interrupted: "),
        (ZeroDivisionError("no rows"), 1, "an error ended the suite lookup, "),
    ],
    ids=["interrupted", "failing"],
)
def test_a_run_that_ends_early_keeps_its_rows(
    error: BaseException, code: int, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ending(*_: object) -> Iterator[Row]:
        yield Row("lookup", "mine", "spinlock torch")
        raise error

    monkeypatch.setitem(SUITES, "lookup", ending)
    path = tmp_path / "run.json"
    assert main(["--suite", "lookup", *QUICKLY, "--json", str(path)]) == code
    found = Record.load(path)
    assert [row.contender for row in found.rows] == ["spinlock torch"]
    assert any(sentence.startswith(note) for sentence in found.noise)


@pytest.mark.usefixtures("known_limits")
def test_a_run_that_is_killed_has_written_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    seen: list[Record] = []

    def killed(*_: object) -> Iterator[Row]:
        yield Row("lookup", "mine", "spinlock torch")
        seen.append(Record.load(path))  # what a SIGKILL here would leave

    monkeypatch.setitem(SUITES, "lookup", killed)
    assert main(["--suite", "lookup", *QUICKLY, "--json", str(path)]) == 0
    assert [row.contender for row in seen[0].rows] == ["spinlock torch"]
    assert any(sentence.startswith("unfinished: ") for sentence in seen[0].noise)
    assert not any(sentence.startswith("unfinished: ") for sentence in Record.load(path).noise)


@pytest.mark.usefixtures("known_limits")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_whatever_was_set_for_it(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def signalled(*_: object) -> Iterator[Row]:
        yield Row("lookup", "mine", "spinlock torch")
        os.kill(os.getpid(), number)
        yield Row("lookup", "mine", "never")

    monkeypatch.setitem(SUITES, "lookup", signalled)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        path = tmp_path / "run.json"
        assert main(["--suite", "lookup", *QUICKLY, "--json", str(path)]) == 130
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert [row.contender for row in Record.load(path).rows] == ["spinlock torch"]


@pytest.mark.usefixtures("known_limits")
def test_a_suite_whose_package_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needing(*_: object) -> Iterator[Row]:
        raise ModuleNotFoundError("no", name="scipy.linalg")
        yield

    monkeypatch.setitem(SUITES, "analysis", needing)
    path = tmp_path / "run.json"
    assert main(["--suite", "analysis", *QUICKLY, "--json", str(path)]) == 0
    assert "the suite analysis was not run: it needs the package scipy.linalg" in (
        Record.load(path).noise
    )
