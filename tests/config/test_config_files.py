"""The examples under configs/ load, say what they promise, and run."""

import re
from pathlib import Path
from typing import Any

import pytest

from spinlock.config import dump_config, load_config, parse_config
from spinlock.config.keys import sections
from spinlock.errors import ConfigError

FOLDER = Path(__file__).parents[2] / "configs"
FILES = sorted(FOLDER.rglob("*.yaml"))


def example(name: str) -> Any:
    return load_config(FOLDER / "vqvae" / name)


def test_they_are_found() -> None:
    assert {"adaptive_compression_example.yaml", "published_baseline.yaml"} <= {
        path.name for path in FILES
    }


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_each_loads_and_round_trips(path: Path) -> None:
    config = load_config(path)
    assert parse_config(dump_config(config)) == config
    assert config.dataset_path.startswith("builtin:"), "must run without files"
    assert config.training.checkpoint_dir == f"checkpoints/{path.stem}"


def test_the_published_model_section_is_kept() -> None:
    model = example("adaptive_compression_example.yaml").model
    assert model.compression_ratios == "auto"
    assert model.auto_compression_strategy == "balanced"
    assert (model.group_embedding_dim, model.group_hidden_dim) == (256, 128)
    assert model.commitment_cost == 0.45


def test_the_published_baseline() -> None:
    config = example("published_baseline.yaml")
    published = {
        "hierarchy": "independent",
        "compression_ratios": [0.5, 1.0, 1.5],
        "codebook_sizing": "feature_count",
        "group_embedding_dim": 32,
        "group_hidden_dim": 64,
        "decoder_hidden_dim": 128,
        "commitment_reduction": "sum",
        "commitment_cost": 1.0,
        "codebook_init": "uniform",
        "use_ema": True,
        "decay": 0.99,
        "dropout": 0.1,
        "orthogonality_weight": 0.0,
        "informativeness_weight": 0.0,
        "topographic_weight": 0.0,
    }
    assert {key: getattr(config.model, key) for key in published} == published
    training = {
        "num_epochs": 40,
        "batch_size": 512,
        "learning_rate": 7e-4,
        "optimizer": "adam",
        "scheduler": "constant",
        "weight_decay": 0.0,
        "dead_code_threshold": 0.0,
    }
    assert {key: getattr(config.training, key) for key in training} == training


def test_the_seed_shaped_job() -> None:
    config = example("seed_shape.yaml")
    assert config.dataset_path == "builtin:seed_shape"
    assert config.training.category_assignment == "families"
    assert (config.training.num_epochs, config.training.batch_size) == (100, 512)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_each_trains_for_an_epoch(path: Path, tmp_path: Path) -> None:
    from spinlock.training.pipeline import train

    rounds = load_config(path).training.refit.rounds
    config = load_config(
        path,
        {
            "max_samples": 240,
            "training.num_epochs": 1,
            "training.refit.rounds": min(rounds, 1),
            "training.refit.epochs": 1,
            "training.checkpoint_dir": str(tmp_path),
            "training.max_clusters": 3,
        },
    )
    result = train(config)
    assert result.checkpoint == tmp_path / f"epoch_{config.training.total_epochs:04d}"
    saved = load_config(result.checkpoint / "config.yaml")
    assert saved.model.compression_ratios == config.model.compression_ratios
    for section in set(sections()) - {"model"}:
        assert getattr(saved, section) == getattr(config, section)


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.yaml").write_text("dataset_path: x\ntraining: {checkpoint_dir: ~/run}")
    assert load_config("~/x.yaml").training.checkpoint_dir == f"{tmp_path}/run"
    overrides = {"training.checkpoint_dir": "~/other/~"}
    assert load_config("~/x.yaml", overrides).training.checkpoint_dir == f"{tmp_path}/other/~"


def test_only_what_flags_may_have_caused_mentions_them(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    overrides = {"training.num_epochs": 3}
    file.write_text("dataset_path: [")
    with pytest.raises(ConfigError, match=rf"^'{re.escape(str(file))}', line 1: "):
        load_config(file, overrides)
    file.write_text("max_samples: 0")
    with pytest.raises(ConfigError, match=r"^2 problems in .* with the keys given beside it:"):
        load_config(file, overrides)
