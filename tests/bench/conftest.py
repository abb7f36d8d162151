"""What tests of whole runs of the bench share."""

import pytest

from bench import cli


@pytest.fixture
def known_limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Measuring the machine takes seconds, and is test_limits' affair."""
    limits = {"fp32 FMA GFLOP/s, 1 thread": 100.0, "read GB/s from memory, 1 thread": 10.0}
    monkeypatch.setattr(cli, "cpu_limits", lambda *_: (limits, ["a note on the limits"]))
    return limits
