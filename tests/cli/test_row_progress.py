"""Progress row by row: a bar in a terminal, sparse lines in a pipe, silence when quiet."""

import io

import pytest
from rich.console import Console

from spinlock.cli.row_progress import RowProgress
from spinlock.cli.terminal import Terminal


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def open_terminal(*, live: bool, verbosity: str = "normal") -> tuple[Terminal, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=live, width=100, highlight=False, markup=False)
    return Terminal(Console(file=io.StringIO()), console, verbosity), text


def test_a_pipe_gets_a_line_every_so_often() -> None:
    terminal, text = open_terminal(live=False)
    clock = Clock()
    with RowProgress(terminal, interval_seconds=10, clock=clock) as progress:
        for done in range(0, 4001, 500):
            progress.update("encoding", done, 4000)
            clock.now += 6
    lines = text.getvalue().splitlines()
    assert lines[0] == "encoding: 1,000 of 4,000 rows (25%)  0:00:36 left"
    assert lines[-1] == "encoding: 4,000 of 4,000 rows (100%)"
    assert len(lines) == 4


def test_a_short_task_says_nothing_in_a_pipe() -> None:
    terminal, text = open_terminal(live=False)
    with RowProgress(terminal, clock=Clock()) as progress:
        for done in range(100):
            progress.update("reading", done, None)
    assert text.getvalue() == ""


def test_the_next_task_starts_its_own_clock() -> None:
    terminal, text = open_terminal(live=False)
    clock = Clock()
    with RowProgress(terminal, interval_seconds=10, clock=clock) as progress:
        progress.update("reading", 0, None)
        clock.now += 11
        progress.update("reading", 70, None)
        progress.update("encoding", 0, 10)
        clock.now += 9
        progress.update("encoding", 5, 10)
    assert text.getvalue() == "reading: 70 rows\n"


def test_a_terminal_gets_a_bar() -> None:
    terminal, text = open_terminal(live=True)
    clock = Clock()
    with RowProgress(terminal, clock=clock) as progress:
        progress.update("reading", 10, None)
        clock.now += 1
        progress.update("reading", 50, None)
        progress.update("encoding", 0, 1000)
        clock.now += 1
        progress.update("encoding", 1000, 1000)
    assert "50 rows" in text.getvalue()
    assert "1,000 of 1,000 rows (100%)" in text.getvalue()


@pytest.mark.parametrize("live", [True, False])
def test_quiet_hears_nothing(live: bool) -> None:
    terminal, text = open_terminal(live=live, verbosity="quiet")
    clock = Clock()
    with RowProgress(terminal, interval_seconds=0, clock=clock) as progress:
        progress.update("encoding", 0, 10)
        clock.now += 60
        progress.update("encoding", 10, 10)
    assert text.getvalue() == ""


def test_names_with_brackets_are_printed_as_they_are() -> None:
    terminal, text = open_terminal(live=True)
    with RowProgress(terminal, clock=Clock()) as progress:
        progress.update("reading [red]", 1, 2)
    assert "reading [red]" in text.getvalue()
