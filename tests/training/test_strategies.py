"""Strategies from a configuration to a plan, through a checkpoint, and back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinlock.analysis.allocation_record import BitAllocation
from spinlock.config import dump_config, load_config, make_config, parse_config
from spinlock.data import FeatureTable, load_table
from spinlock.data.parts import array_parts
from spinlock.errors import ConfigError
from spinlock.training.callbacks import Event
from spinlock.training.checkpoint import load_model
from spinlock.training.fitting import fit_in_memory, fit_in_passes
from spinlock.training.pipeline import train
from spinlock.training.prepare import ignore, prepare
from spinlock.training.resume import resume_path

SMALL = {"group_embedding_dim": 8, "group_hidden_dim": 8, "decoder_hidden_dim": 8}


def raw(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(count, 2)) @ rng.normal(size=(2, 6))
    return {
        "plane": plane + 0.05 * rng.normal(size=plane.shape),
        "noise": 1e3 * rng.normal(size=(count, 5)),
    }


@pytest.fixture
def path(tmp_path: Path) -> str:
    np.savez(tmp_path / "x.npz", **raw(600))
    return str(tmp_path / "x.npz")


def config_of(path: str, model: dict[str, Any], **keys: Any) -> Any:
    training = {
        "num_epochs": 1,
        "batch_size": 64,
        "category_assignment": "families",
        "checkpoint_dir": str(Path(path).parent / "run"),
    }
    return make_config(
        {"dataset_path": path, "training": training, "model": {**SMALL, **model}, **keys}
    )


RATE_DISTORTION = {"auto_compression_strategy": "rate_distortion"}


def test_bits_go_to_the_noise_and_a_checkpoint_keeps_the_plan(path: str) -> None:
    events: list[Event] = []
    prepared = prepare(config_of(path, RATE_DISTORTION), on_event=events.append)
    plan = prepared.plan
    assert [e.kind for e in events].count("bits_allocated") == 1
    assert plan.allocation is not None
    bits = {category.name: category.bits for category in plan.categories}
    assert bits["noise"] > bits["plane"] + 2
    uniform = prepare(config_of(path, {"compression_ratios": [0.5, 1.0, 1.5]})).plan
    assert uniform.bits - 1.0 < plan.bits <= uniform.bits
    result = train(config_of(path, RATE_DISTORTION))
    assert result.checkpoint is not None
    saved = load_model(result.checkpoint)
    assert saved.plan == plan
    assert saved.config.model.compression_ratios_strategy == "rate_distortion"
    carried = saved.config.model.compression_ratios_allocation
    assert BitAllocation.from_dict(carried) == plan.allocation


def test_a_saved_configuration_plans_the_same_without_measuring(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(config_of(path, RATE_DISTORTION))
    text = dump_config(first.config)
    monkeypatch.setattr("spinlock.training.planning.allocate_bits", None)
    again = prepare(parse_config(text))
    assert again.ratios_reused
    assert again.plan.codebook_sizes == first.plan.codebook_sizes
    assert again.plan.latent_dims == first.plan.latent_dims
    assert again.plan.allocation == first.plan.allocation
    assert dump_config(again.config) == text


def test_a_run_with_allocated_bits_can_be_resumed(path: str) -> None:
    config = config_of(path, RATE_DISTORTION)
    train(config)
    longer = config.model_copy(
        update={"training": config.training.model_copy(update={"num_epochs": 1})}
    )
    result = train(longer, resume="latest")
    assert result.checkpoint == resume_path("latest", config)


@pytest.mark.parametrize("strategy", ["rate_distortion", "balanced_scale_free"])
def test_in_memory_and_in_passes(path: str, strategy: str) -> None:
    config = config_of(path, {"auto_compression_strategy": strategy})
    table = load_table(path)
    memory = fit_in_memory(config, table, ignore).plan
    passes = fit_in_passes(
        config, array_parts(table.features, 97), table.names, table.families,
        training_rows=600, on_event=ignore,
    ).plan  # fmt: skip
    assert passes.ratios == memory.ratios
    assert passes.codebook_sizes == memory.codebook_sizes


def test_few_rows_are_said_to_be_few(path: str) -> None:
    events: list[Event] = []
    config = config_of(path, RATE_DISTORTION, max_samples=150)
    plan = prepare(config, on_event=events.append).plan
    (event,) = [e for e in events if e.kind == "gaussian_allocation"]
    assert "120 rows are too few" in event.message
    assert plan.allocation is not None
    assert plan.allocation.method == "gaussian"


def test_units_change_nothing_for_strategies_that_see_z_scores(path: str) -> None:
    features = load_table(path)
    scaled = FeatureTable(
        features.features * np.float32(2.0) ** np.arange(-5, 6, dtype=np.float32),
        features.names,
        features.families,
    )
    for strategy in ("balanced_scale_free", "rate_distortion"):
        config = config_of(path, {"auto_compression_strategy": strategy})
        first, second = prepare(config, table=features).plan, prepare(config, table=scaled).plan
        assert second.ratios == first.ratios
        assert second.codebook_sizes == first.codebook_sizes


def test_levels_given_by_hand(path: str) -> None:
    sizes = [{"num_tokens": 16}, {"num_tokens": 4}, {"num_tokens": 2}]
    plan = prepare(config_of(path, {**RATE_DISTORTION, "levels": {"plane": sizes}})).plan
    assert plan.codebook_sizes[0] == (16, 4, 2)
    half = {**RATE_DISTORTION, "levels": {"plane": [{"num_tokens": 16}, {}, {}]}}
    with pytest.raises(ConfigError, match=r"levels\.plane gives num_tokens for 1 of 3 levels"):
        prepare(config_of(path, half))
    two = {**RATE_DISTORTION, "levels": {"noise": [{"latent_dim": 3}, {}]}}
    plan = prepare(config_of(path, two)).plan
    assert plan.num_levels == 2
    assert plan.latent_dims[1][0] == 3


def test_budgets_from_the_configuration(path: str) -> None:
    section = {**RATE_DISTORTION, "rate_distortion": {"bits": 20.0, "alpha": 1.0}}
    plan = prepare(config_of(path, section)).plan
    assert 18.5 < plan.bits <= 20.0
    with pytest.raises(ConfigError, match=r"take 6\.00 bits"):
        prepare(config_of(path, {**RATE_DISTORTION, "rate_distortion": {"bits": 2.0}}))


def test_strategies_per_level_and_per_family(path: str) -> None:
    def ratios(strategy: Any) -> tuple[tuple[float, ...], ...]:
        return prepare(config_of(path, {"auto_compression_strategy": strategy})).plan.ratios

    variance, information = ratios("variance"), ratios("information")
    mixed = ratios({"L0": "variance", "L1": "information", "L2": "variance"})
    assert mixed == tuple((v[0], i[1], v[2]) for v, i in zip(variance, information, strict=True))
    by_family = ratios({"plane": "variance", "default": "information"})
    assert by_family == (variance[0], information[1])
    scale_free = ratios({"plane": "balanced_scale_free", "default": "information"})
    assert scale_free == (ratios("balanced_scale_free")[0], information[1])
    with pytest.raises(ConfigError, match=r"names temporal, but the families .* plane, noise"):
        ratios({"temporal": "variance", "default": "information"})


def test_a_mixture_survives_a_run_and_its_configuration(path: str) -> None:
    strategy = {"plane": "variance", "default": "balanced"}
    first = prepare(config_of(path, {"auto_compression_strategy": strategy}))
    assert first.plan.strategy == "plane: variance, default: balanced"
    assert first.config.model.compression_ratios_strategy == strategy
    again = prepare(parse_config(dump_config(first.config)))
    assert again.ratios_reused
    assert again.plan.strategy == first.plan.strategy
    assert again.plan.ratios == first.plan.ratios


def test_the_recommended_configuration_is_rate_distortion() -> None:
    folder = Path(__file__).parents[2] / "configs" / "vqvae"
    model = load_config(folder / "rate_distortion.yaml").model
    assert (model.compression_ratios, model.auto_compression_strategy) == (
        "auto",
        "rate_distortion",
    )
    example = load_config(folder / "adaptive_compression_example.yaml").model
    assert (example.compression_ratios, example.auto_compression_strategy) == ("auto", "balanced")
