"""The file of manual categories, and the keys that go with it."""

from pathlib import Path
from typing import Any

import pytest

from spinlock.config import make_config
from spinlock.config.category_file import read_category_file
from spinlock.errors import ConfigError


def test_yaml_and_json(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text('size: [s::w, "s::h*"]\nrest: "*"\n')
    (tmp_path / "c.json").write_text('{"size": ["s::w", "s::h*"], "rest": "*"}')
    expected = {"size": ["s::w", "s::h*"], "rest": ["*"]}
    assert read_category_file(str(tmp_path / "c.yaml")) == expected
    assert read_category_file(str(tmp_path / "c.json")) == expected


@pytest.mark.parametrize(
    "text", ["", "[a, b]", "a: 3", "a: []", "a: [1]", "a: ['']", "a: {b: c}", "a", "a: !!int 3"]
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"training\.category_file '.*c\.yaml'"):
        read_category_file(str(tmp_path / "c.yaml"))


@pytest.mark.parametrize("name", ["", "a\\nb", "a\\x1b[31m"])
def test_a_category_without_a_name_that_can_be_printed(tmp_path: Path, name: str) -> None:
    (tmp_path / "c.yaml").write_text(f'"{name}": ["*"]')
    with pytest.raises(ConfigError, match=r"c\.yaml'.*names of categories .* got .*; give"):
        read_category_file(str(tmp_path / "c.yaml"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=r"training\.category_file") as caught:
            read_category_file(str(path))
        assert "configuration file" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"category_assignment": "manual"}, "category_file: missing with"),
        ({"category_file": "c.yaml"}, "category_assignment is 'auto'"),
        (
            {"category_assignment": "manual", "category_file": "c", "num_categories_auto": 3},
            "num_categories_auto: got a value",
        ),
        (
            {"category_assignment": "manual", "category_file": "c", "isolated_families": ["a"]},
            "isolated_families: got a value",
        ),
    ],
)
def test_keys_that_do_not_go_together(keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make_config({"dataset_path": "x.npz", "training": keys})
