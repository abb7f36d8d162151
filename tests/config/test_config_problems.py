"""Every problem of a configuration, at once, in readable lines."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinlock.config import load_config, make_config, parse_config
from spinlock.config.keys import known_keys
from spinlock.errors import ConfigError, SpinlockError


def problems(tree: dict[str, Any], **kwargs: Any) -> list[str]:
    """The lines of the error, without where they come from."""
    with pytest.raises(ConfigError) as error:
        make_config({"dataset_path": "x.npz"} | tree, "x", **kwargs)
    head, *lines = str(error.value).split("\n  ")
    if not lines:
        return [head.removeprefix("x: ")]
    assert head == f"{len(lines)} problems in x:"
    return lines


def test_all_problems_of_all_sections_come_at_once() -> None:
    tree = {
        "max_samples": "512",
        "batch_size": 64,
        "families": {"shape": {"pat": "y"}},
        "model": {
            "hierarchy": "residul",
            "dropout": 1.0,
            "compression_ratios": [0.5, "x"],
            "topographic_weight": 0.1,
        },
        "feature_cleaning": {"percentile_range": [5]},
        "training": {"num_epochs": 10, "warmup_epochs": 11, "lerning_rate": 1, "batch_size": 0},
        "logging": 3,
    }
    assert problems(tree) == [
        "max_samples: expected a whole number >= 1, or null, got text '512'; remove the quotes",
        "families.shape.pat: unknown key; did you mean families.shape.path?",
        "model.compression_ratios[1] must be a number > 0, got 'x'",
        "model.hierarchy: expected residual or independent, got text 'residul'; did you mean "
        "residual?",
        "model.dropout: expected a number >= 0 and < 1, got 1.0; leave it out for the default, 0.0",
        "feature_cleaning.percentile_range: expected two percentiles, 0 <= low < high <= 100, got "
        "the list [5]; leave it out for the default, [0.5, 99.5]",
        "training.batch_size: expected a whole number >= 1, got 0; leave it out for the default, "
        "512",
        "training.lerning_rate: unknown key; did you mean training.learning_rate?",
        "logging: expected a mapping of the keys verbosity, interval_seconds, tensorboard_dir, got "
        "3; leave it out for the defaults",
        "batch_size: unknown key; did you mean training.batch_size?",
        # Both keys are fine by themselves, so their conflict is seen although others are not.
        "training.warmup_epochs: expected at most num_epochs (10), got 11: the learning rate would "
        "never be reached; lower it or raise training.num_epochs",
    ]


def test_a_conflict_with_a_key_that_is_wrong_itself_is_not_guessed() -> None:
    wrong = {"hierarchy": "x", "orthogonality_weight": 1.0, "dropout": 2.0}
    assert [line.split(":")[0] for line in problems({"model": wrong})] == [
        "model.hierarchy",
        "model.dropout",
    ]
    misspelt = {"hierachy": "independent", "orthogonality_weight": 1.0}
    assert problems({"model": misspelt}) == [
        "model.hierachy: unknown key; did you mean model.hierarchy?"
    ]


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"model": {"orthogonality_weight": 0.1}}, "orthogonality_weight: expected 0, got 0.1"),
        ({"model": {"informativeness_weight": 1}}, "belongs to hierarchy 'independent'"),
        ({"model": {"topographic_weight": 1}}, "remove it or change the hierarchy"),
        ({"model": {"auto_compression_strategy": "balance"}}, "did you mean 'balanced'?"),
        ({"model": {"compression_ratios": "0.5:1", "num_levels": 3}}, "expected 2 levels"),
        ({"model": {"num_levels": 2, "levels": {"a": [{}]}}}, "model.levels.a: expected 2 levels"),
        ({"model": {"levels": {"a": [{}], "b": [{}, {}]}}}, "model.levels.b: expected 1 level"),
        ({"model": {"levels": {"a": []}}}, "model.levels.a: expected a list"),
        ({"model": {"levels": {"a": [{"num_tokens": 1}]}}}, "levels.a[0].num_tokens: expected a"),
        ({"model": {"compression_ratios": {}}}, "must map every category"),
        ({"model": {"compression_ratios": {"a": [1], "b": [1, 2]}}}, "same number of levels"),
        ({"model": {"compression_ratios": [0.5, 0]}}, "model.compression_ratios[1] must be finite"),
        ({"model": {"compression_ratios": "auto:1"}}, "model.compression_ratios[0] is 'auto'"),
        ({"model": {"compression_ratios": None}}, "model.compression_ratios must be"),
        ({"model": {"decay": 1}}, "model.decay: expected a number >= 0 and < 1, got 1"),
        ({"model": {"use_ema": 1}}, "expected true or false, got 1"),
        ({"model": {"commitment_cost": -0.1}}, "expected a number >= 0, got -0.1"),
        ({"model": {"commitment_cost": float("nan")}}, "commitment_cost: expected a number >= 0"),
        ({"model": {"commitment_cost": float("inf")}}, "commitment_cost: expected a number >= 0"),
        ({"model": {"group_hidden_dim": 0}}, "expected a whole number >= 1, got 0"),
        ({"model": {"group_hidden_dim": True}}, "expected a whole number >= 1, got true"),
        ({"feature_cleaning": {"percentile_range": [99.5, 0.5]}}, "low < high"),
        ({"feature_cleaning": {"percentile_range": [0, 101]}}, "low < high"),
        ({"feature_cleaning": {"percentile_range": [1, 2, 3]}}, "two percentiles"),
        ({"feature_cleaning": {"deduplicate_threshold": 1.5}}, "> 0 and <= 1"),
        ({"feature_cleaning": {"outlier_method": "Percentile"}}, "did you mean percentile?"),
        ({"training": {"validation_split": 1.0}}, "expected a number >= 0 and < 1"),
        ({"training": {"num_epochs": 100.0}}, "write 100"),
        ({"training": {"learning_rate": 0}}, "expected a number > 0"),
        ({"training": {"checkpoint_dir": ""}}, "expected text, got text without a character"),
        ({"training": {"isolated_families": "a"}}, "expected a list, each entry text"),
        ({"training": {"isolated_families": ["a", "b", "a"]}}, "'a' several times"),
        ({"training": {"gradient_clip": 0}}, "training.gradient_clip: expected a number > 0"),
        (
            {"training": {"category_assignment": "families", "num_categories_auto": 3}},
            "remove this key or set training.category_assignment to auto",
        ),
        ({"random_seed": -1}, "random_seed: expected a whole number >= 0"),
        ({"random_seed": 2**32}, "<= 4294966295"),
        ({"normalization_method": "zscore"}, "expected standard or mad"),
        ({"families": ["a"]}, "families: expected a mapping {family: {path, encoder}}"),
        ({"families": {1: {}}}, "names that are text, got 1; put it in quotes"),
        ({"dataset_path": None}, "or a list of paths, got null"),
        ({"dataset_path": ["a", 2]}, "got the list ['a', 2]"),
        ({"dataset_path": []}, "dataset_path: expected a path, a glob, builtin:<name>, or a list"),
        ({"dataset_path": {"a": "b"}}, "or a list of paths, got the mapping"),
    ],
)
def test_one_problem(section: dict[str, Any], says: str) -> None:
    (line,) = problems(section)
    assert says in line


SAVED = {
    "compression_ratios_strategy": "balanced",
    "compression_ratios_computed": {"a": [0.3, 0.8, 1.9]},
    "compression_ratios_metrics": {"a": {"variance_score": 1.0}},
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"compression_ratios_metrics": None}, "compression_ratios_metrics: missing beside"),
        ({"compression_ratios_strategy": None}, "compression_ratios_strategy: missing beside"),
        ({"compression_ratios": [0.3, 0.8, 1.9]}, "only with compression_ratios 'auto'"),
        ({"auto_compression_strategy": "variance"}, "--recompute-ratios"),
        ({"compression_ratios_computed": {}}, "at least one category"),
        ({"compression_ratios_computed": {"a": []}}, "at least one ratio"),
        ({"compression_ratios_computed": {"a": [0.0, 1, 1]}}, "computed.a[0]: expected a number"),
        ({"compression_ratios_computed": {"b": [1, 1, 1]}}, "expected the categories of"),
        ({"num_levels": 2}, "expected 2 levels as in model.num_levels, got 3 levels"),
    ],
)
def test_what_a_run_saved_must_fit_together(changes: dict[str, Any], says: str) -> None:
    assert make_config({"dataset_path": "x", "model": SAVED})
    assert says in " ".join(problems({"model": SAVED | changes}))


def test_a_saved_run_loads_where_its_strategy_is_not_registered() -> None:
    own = {"auto_compression_strategy": "my_own", "compression_ratios_strategy": "my_own"}
    assert make_config({"dataset_path": "x", "model": SAVED | own})


def test_a_heading_without_keys_means_the_defaults() -> None:
    config = parse_config("dataset_path: x\nmodel:\ntraining:\nlogging:\nfeature_cleaning:\n")
    assert config == make_config({"dataset_path": "x"})


@pytest.mark.parametrize("text", ["", "# nothing", "[1, 2]", "abc", "3"])
def test_what_is_no_mapping_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^x: (is empty|expected keys and values)"):
        parse_config(text, "x")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, says in (
        (tmp_path / "none.yaml", "there is no configuration file"),
        (tmp_path, "Is a directory"),
        (Path("a\0b"), "null byte"),
        (Path("/dev/zero"), "over 4 MiB"),
    ):
        with pytest.raises(ConfigError, match=says):
            load_config(path)


def test_a_missing_relative_path_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"looked in {tmp_path}"):
        load_config("x.yaml")


def test_long_and_unprintable_values_do_not_reach_the_terminal() -> None:
    (line,) = problems({"training": {"num_epochs": "\x1b[31m" + "x" * 10_000}})
    assert line.isprintable()
    assert len(line) < 300
    (line,) = problems({"\x1b[31m": 1})
    assert line.isprintable()


def test_very_many_problems_are_cut_short() -> None:
    with pytest.raises(ConfigError) as error:
        make_config({f"key {i}": 1 for i in range(1000)})
    assert len(str(error.value).splitlines()) == 42
    assert "961 more" in str(error.value)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3), st.just({})
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)
PATHS = [key.replace("<name>", "a") for key in known_keys()] + ["model", "training", "a.b", ""]


@given(st.dictionaries(st.sampled_from(PATHS), VALUES, max_size=4))
def test_any_value_anywhere_is_taken_or_refused_in_words(values: dict[str, Any]) -> None:
    message = ""
    try:
        make_config({"dataset_path": "x"}, overrides=values)
    except SpinlockError as error:
        message = str(error)
    assert "pydantic" not in message
    assert "validation error" not in message


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"auto_compression_strategy": 3}, "auto_compression_strategy must be the name of a"),
        ({"auto_compression_strategy": {"L0": "variance", "L2": "balanced"}}, "L1 is missing"),
        ({"auto_compression_strategy": {"a": "variance"}}, "but no 'default' for all others"),
        ({"auto_compression_strategy": {"a": "varianc", "default": "balanced"}}, "'variance'?"),
        (
            {"auto_compression_strategy": {"L0": "variance", "L1": "rate_distortion"}},
            "auto_compression_strategy: L1: 'rate_distortion' spends one budget",
        ),
        (
            {"auto_compression_strategy": {"L0": "variance", "L1": "balanced"}, "num_levels": 3},
            "num_levels: expected 2 levels as in model.auto_compression_strategy",
        ),
        ({"rate_distortion": {"alpha": 0.5}}, "rate_distortion.alpha: expected a number >= 1"),
        ({"rate_distortion": {"bits": 0}}, "rate_distortion.bits: expected a number > 0"),
        ({"rate_distortion": {"bit": 3}}, "did you mean model.rate_distortion.bits?"),
        (
            {"rate_distortion": {"bits": 9.0, "target_mse": 0.1}},
            "rate_distortion.target_mse: expected null beside bits",
        ),
        ({"rate_distortion": {"level_split": "measure"}}, "did you mean measured?"),
        (
            {"compression_ratios_allocation": {"method": "guessed"}},
            "model.compression_ratios_allocation must have the keys",
        ),
    ],
)
def test_strategies_that_make_no_sense(model: dict[str, Any], says: str) -> None:
    assert says in "\n".join(problems({"model": model}))
