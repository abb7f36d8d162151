"""Single keys set from outside the file: by flags, by ``--set`` and from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from spinlock.config.describe import is_mapping, is_model, locate
from spinlock.config.keys import unknown_key
from spinlock.config.plain import plain
from spinlock.config.reading import read_yaml
from spinlock.config.root import TrainConfig
from spinlock.config.wording import shown
from spinlock.errors import ConfigError

# Of several forms, one of them a mapping: what lies below is their parsers' business.
_FREE_FORMS = ("model.compression_ratios", "model.auto_compression_strategy")

Overrides = Mapping[str, Any] | Iterable[tuple[str, Any]]


def parse_assignment(text: str) -> tuple[str, Any]:
    """``a.b=value`` as a key and its value, which is read as YAML.

    Raises:
        ConfigError: no ``=``, no key, or a value that is no YAML.

    >>> parse_assignment("training.learning_rate=1e-3")
    ('training.learning_rate', 0.001)
    >>> parse_assignment("model.compression_ratios=[0.5, 1.0]")
    ('model.compression_ratios', [0.5, 1.0])
    """
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise ConfigError(
            f"--set {text!r}: expected key=value, such as --set training.num_epochs=10"
        )
    return key.strip(), read_yaml(value, f"--set {key.strip()}")


def apply_overrides(
    tree: Mapping[str, Any], overrides: Overrides
) -> tuple[dict[str, Any], list[str]]:
    """A copy of ``tree`` with keys set by dotted path; of the same key the last one counts.

    Paths lead through sections and, under ``families``, ``model.levels`` and the other mappings
    by name, to their entries.  Paths or numpy values in ``overrides`` become plain ones.

    Args:
        tree: what the file holds.
        overrides: (dotted path, value) pairs, or a mapping of them.

    Returns:
        The tree, and a line for each path that is unknown or leads through a value; these are not
        set.

    >>> apply_overrides({"training": {"num_epochs": 3}}, [("training.batch_size", 64)])
    ({'training': {'num_epochs': 3, 'batch_size': 64}}, [])
    """
    result: dict[str, Any] = plain(tree)
    problems = []
    for path, value in pairs_of(overrides):
        problem = _unknown(path) or _assign(result, path.split("."), plain(value))
        if problem is not None:
            problems.append(problem)
    return result, problems


def pairs_of(overrides: Overrides) -> list[tuple[str, Any]]:
    """Overrides of either form as pairs, in their order."""
    return list(overrides.items() if isinstance(overrides, Mapping) else overrides)


def _unknown(path: str) -> str | None:
    """What is wrong with a path; None where it leads to a key, a section or an entry."""
    way: list[str] = []
    for part in path.split("."):
        above, place = ".".join(way), locate(TrainConfig, way)
        if above in _FREE_FORMS:
            return None
        if is_model(place.annotation):
            known = list(place.annotation.model_fields)
            if part not in known:
                return f"{path}: {unknown_key(part, known, above)}"
        elif not part or not is_mapping(place.annotation):
            return f"{path}: nothing lies below {above}, which takes {place.expected}"
        way.append(part)
    return None


def _assign(tree: dict[str, Any], parts: list[str], value: Any) -> str | None:
    """Sets the value; returns what is wrong where the way leads through something else."""
    place = tree
    for depth, part in enumerate(parts[:-1], start=1):
        inner = place.get(part)
        if inner is None:
            inner = place[part] = {}
        if not isinstance(inner, dict):
            above = ".".join(parts[:depth])
            return (
                f"{'.'.join(parts)}: {above} is {shown(inner)}, which has no keys; set {above} "
                "itself"
            )
        place = inner
    place[parts[-1]] = value
    return None
