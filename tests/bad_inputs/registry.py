"""What a bad input is: it makes its files in a world and returns the command that meets them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CANARY = "the-canary-of-another-file"


@dataclass
class World:
    """A folder with ``data.npz``, ``run.yaml``, ``run/`` and ``tokens.npz``."""

    root: Path

    @property
    def checkpoint(self) -> Path:
        """The only checkpoint folder."""
        return self.root / "run" / "epoch_0001"

    def path(self, name: str) -> Path:
        """A file in the folder."""
        return self.root / name


Case = Callable[[World], list[str]]

CASES: dict[str, tuple[Case, int, str]] = {}


def case(name: str, code: int, word: str) -> Callable[[Case], Case]:
    """Registers a bad input: the exit code that is due, and a word of the message."""

    def register(make: Case) -> Case:
        assert name not in CASES, name
        CASES[name] = (make, code, word)
        return make

    return register


def analyze(world: World, data: str | Path) -> list[str]:
    return ["analyze", "--config", str(world.path("run.yaml")), "--input", str(data)]


def diagnose(world: World) -> list[str]:
    return ["diagnose", str(world.checkpoint), str(world.path("data.npz"))]


class Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return (os.system, ("touch code-was-run",))
