"""What a quiet run says all the same."""

import pytest

from spinlock.cli.terminal import WARNINGS, Terminal
from spinlock.training.callbacks import Event


@pytest.mark.parametrize("kind", sorted(WARNINGS))
def test_a_quiet_run_passes_warnings_on(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal.open("quiet")
    terminal.event(Event("loaded", "12 rows"))
    terminal.event(Event(kind, "look here"))
    assert capsys.readouterr().err == "note: look here\n"


def test_a_directory_that_cannot_be_locked_is_a_warning() -> None:
    assert "no_lock" in WARNINGS
