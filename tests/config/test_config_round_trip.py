"""What is written loads back unchanged, to the last bit."""

import string
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spinlock.analysis import CategoryProfile
from spinlock.analysis.strategies import STRATEGIES
from spinlock.config import TrainConfig, dump_config, make_config, parse_config
from spinlock.errors import ConfigError

NAMES = st.text(min_size=1, max_size=12) | st.sampled_from(
    [
        "cluster_1",
        "yes",
        "null",
        "1e5",
        "4:2:1",
        "2024-01-01",
        "a: b",
        "- x",
        "#",
        "a\nb",
        "'",
        "~",
        "\x85",
        "a\u2028b",
        "\ufeff",
        "\x1b[0m",
        "\U0001f600",
        " a ",
        "<<",
        "=",
        "on",
        "0x1f",
        "1_0",
    ]
)
RATIO = st.floats(1e-300, 1e300)
POSITIVE = st.floats(5e-324, 1.7e308)
SHARE = st.floats(0, 1, exclude_max=True)
COUNT = st.integers(1, 2**62)


def encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


TEXT = NAMES.filter(encodable)


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    levels = draw(st.integers(1, 4))
    per_level = st.lists(RATIO, min_size=levels, max_size=levels)
    categories = draw(st.lists(TEXT, min_size=1, max_size=3, unique=True))
    by_category = {name: draw(per_level) for name in categories}
    colons = st.builds(lambda ratios: ":".join(map(repr, ratios)), per_level)
    model: dict[str, Any] = {
        "compression_ratios": draw(st.just("auto") | colons | per_level | st.just(by_category)),
        "hierarchy": draw(st.sampled_from(["residual", "independent"])),
        "decay": draw(SHARE),
        "commitment_cost": draw(POSITIVE),
        "group_hidden_dim": draw(COUNT),
    }
    if draw(st.booleans()):
        level = st.fixed_dictionaries(
            {}, optional={"latent_dim": COUNT, "num_tokens": st.integers(2, 2**40)}
        )
        entries = st.lists(level, min_size=levels, max_size=levels)
        model["levels"] = {name: draw(entries) for name in categories}
    if model["compression_ratios"] == "auto" and draw(st.booleans()):
        strategy = draw(st.sampled_from(sorted(STRATEGIES)))
        model |= {
            "auto_compression_strategy": strategy,
            "compression_ratios_strategy": strategy,
            "compression_ratios_computed": by_category,
            "compression_ratios_metrics": {
                name: {"variance_score": draw(SHARE)} for name in categories
            },
        }
    return model


@st.composite
def configs(draw: st.DrawFn) -> TrainConfig:
    family = st.fixed_dictionaries({}, optional={"path": TEXT, "encoder": TEXT}) | st.none()
    tree = {
        "dataset_path": draw(TEXT),
        "max_samples": draw(st.none() | COUNT),
        "families": draw(st.none() | st.dictionaries(TEXT, family, max_size=3)),
        "model": draw(models()),
        "feature_cleaning": {
            "variance_threshold": draw(POSITIVE),
            "percentile_range": draw(st.tuples(st.floats(0, 50), st.floats(51, 100))),
        },
        "training": {
            "learning_rate": draw(POSITIVE),
            "gradient_clip": draw(st.none() | POSITIVE),
            "checkpoint_dir": draw(TEXT.filter(lambda text: text[0] != "~")),
            "isolated_families": draw(st.lists(TEXT, unique=True, max_size=3)),
        },
        "random_seed": draw(st.integers(0, 2**31)),
        "device": draw(TEXT),
    }
    return make_config(tree)


@given(configs())
def test_load_of_dump_is_the_same(config: TrainConfig) -> None:
    text = dump_config(config)
    loaded = parse_config(text)
    assert loaded == config
    assert dump_config(loaded) == text


@given(configs())
def test_other_yaml_readers_see_the_same_text_and_structure(config: TrainConfig) -> None:
    """Numbers aside: YAML 1.1 reads 1e-10 as text, so dumps write it as 1.0e-10."""
    tree = yaml.safe_load(dump_config(config))
    assert tree["dataset_path"] == config.dataset_path
    assert tree["training"]["learning_rate"] == config.training.learning_rate
    assert list(tree["families"] or {}) == list(config.families or {})
    assert tree["model"]["compression_ratios"] == config.model.compression_ratios


def test_a_saved_run_reads_as_the_published_example() -> None:
    profile = CategoryProfile("cluster_1", 24, 1.0, 0.697, 0.983, 0.793)
    config = make_config(
        {
            "dataset_path": "builtin:digits",
            "model": {
                "compression_ratios_strategy": "balanced",
                "compression_ratios_computed": {"cluster_1": [0.31, 0.85, 1.91]},
                "compression_ratios_metrics": {"cluster_1": profile.scores()},
            },
        }
    )
    saved = """\
  compression_ratios_strategy: balanced
  compression_ratios_computed:
    cluster_1: [0.31, 0.85, 1.91]
  compression_ratios_metrics:
    cluster_1:
      variance_score: 1.0
      dimensionality_score: 0.697
      information_score: 0.983
      correlation_score: 0.793
"""
    assert saved in dump_config(config)
    assert "\n  compression_ratios: auto\n" in dump_config(config)


def test_what_no_run_has_computed_is_not_written() -> None:
    text = dump_config(make_config({"dataset_path": "x"}))
    assert "compression_ratios_" not in text
    assert "auto_compression_strategy: balanced" in text


@pytest.mark.parametrize(
    "form", ["auto", "0.5:1.0:1.5", [0.5, 1, 1.5], {"b": [0.5], "a": [1.0]}, {"a": "0.5:1"}]
)
def test_the_form_of_the_ratios_is_kept(form: Any) -> None:
    config = make_config({"dataset_path": "x", "model": {"compression_ratios": form}})
    loaded = parse_config(dump_config(config)).model.compression_ratios
    assert loaded == form
    assert not isinstance(form, dict) or list(loaded) == list(form)


def test_the_text_is_plain() -> None:
    text = dump_config(make_config({"dataset_path": "x", "model": {"levels": {"a": [{}, {}]}}}))
    assert not set("&*!") & set(text.replace("builtin:", ""))
    assert set(text) <= set(string.printable)
    assert text.startswith("dataset_path: x\n")


def test_lone_surrogates_cannot_be_written_and_are_refused() -> None:
    with pytest.raises(ConfigError, match="dataset_path"):
        make_config({"dataset_path": "\udcff"})
