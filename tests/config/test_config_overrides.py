"""Keys set beside the file."""

from pathlib import Path

import numpy as np
import pytest

from spinlock.config import load_config, make_config, parse_assignment
from spinlock.config.overrides import apply_overrides
from spinlock.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "x.yaml"
    file.write_text("dataset_path: a.npz\ntraining: {num_epochs: 3, batch_size: 7}\n")
    return file


def test_an_override_wins_over_the_file_and_leaves_the_rest(path: Path) -> None:
    config = load_config(path, [("training.num_epochs", 5), ("dataset_path", "b.npz")])
    assert (config.training.num_epochs, config.training.batch_size) == (5, 7)
    assert config.dataset_path == "b.npz"


def test_the_last_one_of_a_key_counts(path: Path) -> None:
    pairs = [("training.num_epochs", 5), ("training", {"seed": 1}), ("training", None)]
    assert load_config(path, [*pairs, ("training.num_epochs", 6)]).training.num_epochs == 6


def test_a_mapping_works_as_well(path: Path) -> None:
    assert load_config(path, {"training.batch_size": 9}).training.batch_size == 9


def test_paths_and_numpy_values_become_plain(tmp_path: Path) -> None:
    config = make_config(
        {"dataset_path": tmp_path / "x.npz"},
        overrides={
            "training.checkpoint_dir": tmp_path,
            "training.num_epochs": np.int64(4),
            "training.learning_rate": np.float32(0.5),
            "model.compression_ratios": tuple(np.array([0.5, 1.0])),
        },
    )
    assert config.training.checkpoint_dir == str(tmp_path)
    assert type(config.training.num_epochs) is int
    assert config.model.compression_ratios == [0.5, 1.0]
    assert type(config.model.compression_ratios[0]) is float


def test_entries_of_mappings_can_be_set(path: Path) -> None:
    config = load_config(
        path,
        [
            ("families.shape.encoder", "flatten"),
            ("families.colour", {}),
            ("model.levels.cluster_1", [{"num_tokens": 8}]),
            ("model.compression_ratios", {}),
            ("model.compression_ratios.cluster_1", [0.5]),
        ],
    )
    assert config.families is not None
    assert config.families["shape"].encoder == "flatten"
    assert config.model.levels is not None
    assert config.model.levels["cluster_1"][0].num_tokens == 8
    assert config.model.compression_ratios == {"cluster_1": [0.5]}


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("training.num_epocs", "did you mean training.num_epochs?"),
        ("num_epochs", "did you mean training.num_epochs?"),
        ("modell.decay", "did you mean model?"),
        ("training.num_epochs.x", "nothing lies below training.num_epochs, which takes a whole"),
        ("families.shape.encodr", "did you mean families.shape.encoder?"),
        ("families.", "nothing lies below families"),
        ("model.levels.a.0", "nothing lies below model.levels.a"),
        ("", "unknown key"),
        ("training.", "unknown key"),
        ("..", "unknown key"),
    ],
)
def test_unknown_paths(path: Path, key: str, says: str) -> None:
    with pytest.raises(ConfigError, match="with the keys given beside it") as error:
        load_config(path, [(key, 1)])
    assert says in str(error.value)


def test_a_path_through_a_value_says_so() -> None:
    tree = {"model": {"compression_ratios": "auto"}}
    _, (problem,) = apply_overrides(tree, [("model.compression_ratios.a", [1.0])])
    assert "model.compression_ratios is text 'auto', which has no keys" in problem


def test_problems_of_overrides_and_of_the_file_come_together(path: Path) -> None:
    path.write_text("dataset_path: a.npz\ntraining: {num_epochs: 0}\n")
    with pytest.raises(ConfigError, match=r"3 problems") as error:
        load_config(path, [("trainin.x", 1), ("training.batch_size", "a")])
    for key in ("trainin.x", "training.batch_size", "training.num_epochs"):
        assert f"\n  {key}: " in str(error.value)


def test_overrides_do_not_change_what_they_are_set_over() -> None:
    tree = {"dataset_path": "x", "training": {"num_epochs": 3}}
    make_config(tree, overrides={"training.num_epochs": 4})
    assert tree == {"dataset_path": "x", "training": {"num_epochs": 3}}


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("a.b=1e-3", ("a.b", 1e-3)),
        (" a = x", ("a", "x")),
        ("a=", ("a", None)),
        ("a=b=c", ("a", "b=c")),
        ("a='3'", ("a", "3")),
        ("a={b: [1, 2]}", ("a", {"b": [1, 2]})),
        ("a=0.5:1.0", ("a", "0.5:1.0")),
    ],
)
def test_assignments(text: str, pair: tuple[str, object]) -> None:
    assert parse_assignment(text) == pair


@pytest.mark.parametrize("text", ["", "a", "=3", "a=[1", "a=!!python/name:os.system ''"])
def test_bad_assignments(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set "):
        parse_assignment(text)
