"""The public names, and the README's way from features to tokens and back."""

import re
from pathlib import Path

import pytest

import spinlock
from spinlock.config import load_config
from spinlock.training.pipeline import train

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there() -> None:
    for name in spinlock.__all__:
        assert getattr(spinlock, name) is not None
    assert dir(spinlock) == spinlock.__all__
    with pytest.raises(AttributeError, match="no attribute 'lode_model'"):
        _ = spinlock.lode_model


def test_the_readmes_round_trip_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    section = page.split("## From features to tokens and back")[1]
    match = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert match is not None
    config = ROOT / "configs" / "vqvae" / "adaptive_compression_example.yaml"
    monkeypatch.chdir(tmp_path)
    train(load_config(config, {"training.num_epochs": 1, "max_samples": 300}))
    names: dict[str, object] = {}
    exec(match[1], names)
    assert names["tokens"].shape[0] == names["values"].shape[0] == 1797  # type: ignore[attr-defined]
