"""Bad input ends in one readable message: no traceback, no code run, nothing written lost."""

import hashlib
from pathlib import Path

import pytest
import torch

from bad_inputs import CANARY, CASES, World
from spinlock.cli.main import main


def contents(root: Path) -> dict[str, str]:
    """SHA-256 of every regular file in a folder."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    make, code, word = CASES[name]
    arguments = make(world)
    before = contents(world.root)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ended = main(arguments)
    finally:
        torch.set_num_threads(threads)
    out, err = capfd.readouterr()
    assert ended == code, err
    assert "Traceback" not in err + out
    assert "not foreseen" not in err
    assert word.lower() in err.lower()
    assert sum(line.lower().startswith("error:") for line in err.splitlines()) == 1
    assert CANARY not in out + err
    # No code run, no half-written or temporary file, nothing changed.
    assert contents(world.root) == before
