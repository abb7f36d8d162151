"""A configuration as YAML text that loads back unchanged."""

from __future__ import annotations

import sys
from typing import Any

import yaml
from yaml.nodes import Node

from spinlock.config.model import SAVED_KEYS
from spinlock.config.plain import plain
from spinlock.config.reading import FLOAT_TAG, FLOATS
from spinlock.config.root import TrainConfig


def dump_config(config: TrainConfig) -> str:
    """Every key, in the order of the sections, as plain YAML: no tags, no anchors, no header.

    The three keys that a run computes are there only where they have a value.  Numbers keep every
    bit: ``load(dump(c)) == c``, and dumping that gives the same text.

    >>> text = dump_config(TrainConfig(dataset_path="builtin:digits"))
    >>> print("\\n".join(text.splitlines()[:3]))
    dataset_path: builtin:digits
    max_samples: null
    fit_rows: sample
    """
    tree = plain(config.model_dump(mode="python"))
    for key in SAVED_KEYS:
        if tree["model"][key] is None:
            del tree["model"][key]
    for family in (tree["families"] or {}).values():
        _drop_none(family)
    for levels in (tree["model"]["levels"] or {}).values():
        for level in levels:
            _drop_none(level)
    return yaml.dump(
        tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize, indent=2
    )


class _Dumper(yaml.SafeDumper):
    """Mappings in block style, lists of plain values on one line."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _list_node(dumper: _Dumper, data: list[Any]) -> Node:
    nested = any(isinstance(item, list | dict) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=not nested)


def _mapping_node(dumper: _Dumper, data: dict[str, Any]) -> Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=not data)


def _text_node(dumper: _Dumper, data: str) -> Node:
    # Only double quotes keep every kind of line break.
    style = None if data.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _text_node)
_Dumper.add_representer(list, _list_node)
_Dumper.add_representer(dict, _mapping_node)
# Text that reads as a number here is quoted, besides what reads so elsewhere.
_Dumper.add_implicit_resolver(FLOAT_TAG, FLOATS, list("-+.0123456789"))


def _drop_none(mapping: dict[str, Any]) -> None:
    for key in [key for key, value in mapping.items() if value is None]:
        del mapping[key]
