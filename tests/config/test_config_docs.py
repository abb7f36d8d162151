"""docs/configuration.md lists every key with what it takes and its default."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import PydanticUndefined

from spinlock.config.describe import describe
from spinlock.config.keys import known_keys
from spinlock.config.model import AUXILIARY_WEIGHTS
from spinlock.config.plain import plain
from spinlock.config.reading import read_yaml

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "configuration.md").read_text(encoding="utf-8")


def table_rows() -> dict[str, list[str]]:
    """The cells of each row by its key."""
    rows: dict[str, list[str]] = {}
    for line in PAGE.splitlines():
        if match := re.match(r"\| `([a-z_.<>]+)` \| ", line):
            assert match[1] not in rows, f"{match[1]} is documented twice"
            rows[match[1]] = re.split(r"(?<!\\) \| ", line.strip("| "))[1:]
    return rows


ROWS = table_rows()


def test_every_key_is_documented_and_no_other() -> None:
    assert set(ROWS) == set(known_keys())


@pytest.mark.parametrize("key", known_keys())
def test_what_a_key_takes_and_its_default(key: str) -> None:
    field = known_keys()[key]
    takes, default, *rest = ROWS[key]
    assert takes == describe(field.annotation, field.metadata)
    expected: Any = plain(field.default)
    if field.default is PydanticUndefined:
        assert default == "required"
    else:
        assert read_yaml(default.strip("`"), key) == expected
    assert rest[-1].strip(), "what it does is missing"


@pytest.mark.parametrize("key", [key for key in known_keys() if key.startswith("model.")])
def test_the_form_that_a_key_belongs_to(key: str) -> None:
    form = ROWS[key][2]
    if key.rsplit(".", 1)[-1] in AUXILIARY_WEIGHTS:
        assert form == "independent"
    elif key == "model.linear_decoder":
        assert form == "residual"
    else:
        assert form == "both"


@pytest.mark.parametrize("page", ["configuration.md", "cli.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (DOCS / page).read_text(encoding="utf-8")):
        assert (DOCS / target).exists(), target


def test_yaml_blocks_are_yaml() -> None:
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        if block.count("compression_ratios:") < 3:  # one block lists the forms, not a document
            assert isinstance(yaml.safe_load(block), dict)
