"""No key without an effect, no default that is not that of the code behind it."""

import inspect
import re
from pathlib import Path

import pytest

import spinlock
from spinlock.config import TrainConfig, make_config
from spinlock.config.cleaning import CleaningConfig
from spinlock.config.keys import known_keys, nearest, sections
from spinlock.config.model import SAVED_KEYS
from spinlock.config.training import TrainingConfig
from spinlock.data.categories import ASSIGNMENTS, discover_categories
from spinlock.data.cleaning import FeatureCleaner
from spinlock.data.column_repair import OUTLIER_METHODS
from spinlock.data.normalisation import Normaliser

PACKAGE = Path(spinlock.__file__).parent
# feature_cleaning reaches FeatureCleaner as a whole, a level the plan, rate_distortion its options.
WHOLE = ("feature_cleaning.", "model.levels.<name>.", "model.rate_distortion.")


@pytest.mark.parametrize("key", [key for key in known_keys() if not key.startswith(WHOLE)])
def test_every_key_is_read_somewhere(key: str) -> None:
    name = key.rsplit(".", 1)[-1]
    rooms = [p for room in ("training", "cli", "data") for p in (PACKAGE / room).rglob("*.py")]
    pattern = re.compile(rf"\.{name}\b")
    assert any(pattern.search(path.read_text(encoding="utf-8")) for path in rooms)


def test_cleaning_keys_are_the_cleaners_parameters_with_its_defaults() -> None:
    parameters = FeatureCleaner().get_params()
    for name in ("sample_rows", "block_rows", "seed"):
        del parameters[name]
    assert CleaningConfig().model_dump() == parameters
    assert FeatureCleaner(**CleaningConfig().model_dump())


def test_category_keys_have_the_defaults_of_the_discovery() -> None:
    defaults = inspect.signature(discover_categories).parameters
    training = TrainingConfig()
    for key in ("num_categories_auto", "max_clusters", "min_features_per_category"):
        assert getattr(training, key) == defaults[key].default
    assert training.category_assignment == defaults["assignment"].default


@pytest.mark.parametrize("method", OUTLIER_METHODS)
def test_every_outlier_method_can_be_configured(method: str) -> None:
    section = {"outlier_method": method}
    config = make_config({"dataset_path": "x", "feature_cleaning": section})
    assert config.feature_cleaning.outlier_method == method


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_every_assignment_can_be_configured(assignment: str) -> None:
    section = {"category_assignment": assignment}
    if assignment == "manual":
        section["category_file"] = "categories.yaml"
    config = make_config({"dataset_path": "x", "training": section})
    assert config.training.category_assignment == assignment


@pytest.mark.parametrize("method", ["standard", "mad"])
def test_every_normalisation_exists(method: str) -> None:
    make_config({"dataset_path": "x", "normalization_method": method})
    Normaliser(method).fit([[0.0], [1.0], [3.0]])


def test_defaults_are_the_documented_form() -> None:
    model = make_config({"dataset_path": "x"}).model
    assert (model.hierarchy, model.compression_ratios) == ("residual", "auto")
    assert model.auto_compression_strategy == "balanced"
    assert all(getattr(model, key) is None for key in SAVED_KEYS)


def test_configurations_are_read_only_values() -> None:
    config = make_config({"dataset_path": "x"})
    with pytest.raises(ValueError, match="frozen"):
        config.dataset_path = "y"  # type: ignore[misc]
    assert config == make_config({"dataset_path": "x"})
    assert config.model_copy(update={"random_seed": 1}) != config


@pytest.mark.parametrize("section", ["", *sections()])
def test_every_misspelt_key_is_recognised(section: str) -> None:
    model = sections().get(section, TrainConfig)
    for name in model.model_fields:
        for wrong in (name[:-1], name.replace("_", ""), f"{name}s", name.upper()):
            if wrong not in model.model_fields:
                path = f"{section}.{name}" if section else name
                assert nearest(wrong, list(model.model_fields), section) == path
