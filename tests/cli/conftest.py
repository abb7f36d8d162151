"""Running command lines in this process, and runs that are not real ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spinlock.cli.main import main


@dataclass
class Ended:
    """What a command line left behind."""

    code: int
    out: str
    err: str


RunCommand = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny products on several threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> RunCommand:
    """Runs a command line in an empty working directory."""
    for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Ended:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """A configuration that trains in a moment on a file beside it."""
    rng = np.random.default_rng(0)
    families = {}
    for name, width in (("shape", 6), ("colour", 4)):
        factors = rng.normal(size=(160, 2)) @ rng.normal(size=(2, width))
        families[name] = (factors + 0.2 * rng.normal(size=(160, width))).astype(np.float32)
    families["shape"][:, 5] = 3.0
    np.savez(tmp_path / "data.npz", **families)
    file = tmp_path / "x.yaml"
    file.write_text(
        """
dataset_path: data.npz
model: {group_embedding_dim: 8, group_hidden_dim: 8, decoder_hidden_dim: 8}
training:
  num_epochs: 4
  batch_size: 32
  checkpoint_dir: run
  checkpoint_every_n_epochs: 1
  category_assignment: families
"""
    )
    return file


@dataclass
class FakePipeline:
    """Stands in for the pipeline: remembers how it was called, then does as told.

    Attributes:
        calls: the configuration and keyword arguments of each call.
        then: called with them; what it raises or returns is the call's outcome.
    """

    calls: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    then: Callable[..., Any] | None = None

    def __call__(self, config: Any, **kwargs: Any) -> Any:
        self.calls.append((config, kwargs))
        assert self.then is not None
        return self.then(config, **kwargs)


@pytest.fixture
def fake_train(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    """Replaces ``train``."""
    fake = FakePipeline()
    monkeypatch.setattr("spinlock.training.pipeline.train", fake)
    return fake
