"""YAML text to plain values: data only, numbers as people write them, nothing hostile."""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from spinlock.errors import ConfigError

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 40
MAX_VALUES = 200_000
_INTEGER_LIMIT = 2**63

FLOAT_TAG = "tag:yaml.org,2002:float"
_STR, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"

_BOOL = re.compile(r"^(?:yes|no|true|false|on|off)$", re.IGNORECASE)
_NULL = re.compile(r"^(?:~|null|)$", re.IGNORECASE)
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$")
FLOATS = re.compile(
    r"^[-+]?(?:(?:[0-9][0-9_]*)?\.[0-9][0-9_]*|[0-9][0-9_]*\.|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
    r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)
_REMEDIES = {
    "mapping values are not allowed": "quote text that holds ': ', and check the indentation",
    "cannot start any token": "quote text that starts so; indent with spaces, not tabs",
    "could not find expected ':'": "write 'key: value', with a space after the colon",
    "expected <block end>": "check the indentation: keys of one section start in one column",
    "did not find expected": "check quotes and brackets",
    "expected ',' or": "close the bracket, or separate entries with commas",
    "while scanning a quoted scalar": "close the quotes",
    "expected a single document": "remove what follows the second '---'",
    "while scanning an alias": "quote text that starts with *, such as '*'",
    "undefined alias": "define &name before *name, or quote text that starts with *",
}


def read_yaml(text: str | bytes, source: str) -> Any:
    """The value that YAML text stands for.

    Numbers are decimal (``1e-10`` and ``1E5`` included) or ``0x`` hexadecimal; dates are text.
    Keys are text, each given once.  Aliases and merge keys work as far as what they stand for
    stays small.

    Args:
        text: a document; bytes are UTF-8.
        source: how messages call it.

    Raises:
        ConfigError: malformed, too large, tagged, or nested too deeply; says in which line.

    >>> read_yaml("a: 1e-10\\nb: [1E5, 0.5, 3]\\nc: 2024-01-01", "'x.yaml'")
    {'a': 1e-10, 'b': [100000.0, 0.5, 3], 'c': '2024-01-01'}
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(
            f"{source}: over {MAX_BYTES // 2**20} MiB; a configuration has a few kilobytes: is "
            "this the right file?"
        )
    if isinstance(text, bytes):
        text = _decode(text, source)
    try:
        return _Loader(text.removeprefix("\ufeff")).get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError(_explain(error, text, source)) from error


class _Loader(yaml.SafeLoader):
    """YAML's plain types, without what a configuration has no use for."""

    # Not the inherited ones, whose dates, base 60 and octal surprise.
    yaml_implicit_resolvers = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        self._open: set[int] = set()
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _problem(f"the tag {tag!r} is not allowed: write the plain value", event)
        if self._depth >= MAX_DEPTH:
            raise _problem(f"nested more than {MAX_DEPTH} levels deep", event)
        self._depth += 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise _problem(f"more than {MAX_VALUES:,} values", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self) -> Node | None:
        node = super().get_single_node()
        if node is not None:
            self._measure(node)
        return node

    def flatten_mapping(self, node: MappingNode) -> None:
        """Writes merge keys out: a key's own value wins, then that of the first merged mapping.

        PyYAML 6.0.4's own version takes the overridden value where merges are nested.
        """
        merged: dict[Any, Any] = {}
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        for key, value in node.value:
            if key.tag == _MERGE:
                for source in value.value if isinstance(value, SequenceNode) else [value]:
                    if not isinstance(source, MappingNode):
                        raise _problem("<< is for merging mappings, and this is none", source)
                    self.flatten_mapping(source)
                    merged = {pair[0].value: pair for pair in source.value} | merged
        node.value = list((merged | {pair[0].value: pair for pair in own}).values())

    def _measure(self, node: Node) -> int:
        """Number of values that a node stands for once aliases are written out; checks keys."""
        key = id(node)
        if key in self._open:
            raise _problem("an alias inside the value that it stands for", node)
        if key not in self._sizes:
            self._open.add(key)
            self._sizes[key] = 1 + sum(map(self._measure, self._children(node)))
            self._open.discard(key)
            if self._sizes[key] > MAX_VALUES:
                raise _problem(f"stands for more than {MAX_VALUES:,} values", node)
        return self._sizes[key]

    def _children(self, node: Node) -> list[Node]:
        if isinstance(node, SequenceNode):
            return list(node.value)
        if not isinstance(node, MappingNode):
            return []
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag not in (_STR, _MERGE):
                shown = repr(key.value) if isinstance(key, ScalarNode) else "a collection"
                raise _problem(f"keys are text, this one is {shown}: put it in quotes", key)
            if key.value in seen:
                raise _problem(f"the key {key.value!r} is here twice: keep one", key)
            seen.add(key.value)
        return [child for pair in node.value for child in pair]


def _integer(_: _Loader, node: ScalarNode) -> int:
    text = node.value.replace("_", "")
    # Far more digits than 64 bits need would be slow to convert.
    value = int(text, 0) if len(text) < 40 else _INTEGER_LIMIT
    if not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        raise _problem("a whole number of more than 64 bits", node)
    return value


for _tag, _pattern, _first in (
    ("bool", _BOOL, "yYnNtTfFoO"),
    ("null", _NULL, ["~", "n", "N", ""]),
    ("int", _INT, "-+0123456789"),
    ("float", FLOATS, "-+.0123456789"),
    ("merge", re.compile(r"^<<$"), "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def _problem(text: str, where: Any) -> ConstructorError:
    return ConstructorError(None, None, text, where.start_mark)


def _decode(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{source}, line {line}: not UTF-8 text; save the file as UTF-8, or name the right file"
        ) from error


def _explain(error: yaml.YAMLError, text: str, source: str) -> str:
    """Line, what is wrong, the line's text, what to do."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text[: error.position].count("\n") + 1
        return f"{source}, line {line}: the character {_code(error)} is not allowed; remove it"
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"{source}: no readable YAML ({error})"
    mark = error.problem_mark or error.context_mark
    if error.context_mark and re.search("end of stream|stream end", error.problem or ""):
        # What was opened and never closed is found at its beginning.
        mark = error.context_mark
    where = f"{source}, line {mark.line + 1}" if mark else source
    problem = f"{error.problem or error.context}".removeprefix("but ")[:200]
    lines = text.splitlines()
    if mark and mark.line < len(lines) and lines[mark.line].strip():
        problem += f" in {quoted(lines[mark.line].strip()[:70])}"
    said = f"{error.context} {error.problem}"
    remedy = next((r for part, r in _REMEDIES.items() if part in said), None)
    return f"{where}: {problem}; {remedy}" if remedy else f"{where}: {problem}"


def _code(error: yaml.reader.ReaderError) -> str:
    return f"U+{error.character:04X}" if isinstance(error.character, int) else repr(error.character)


def quoted(text: str) -> str:
    """Quoted text; escaped where it holds unprintable characters.

    >>> quoted("a: b"), quoted("a:\\x1b[31m")
    ("'a: b'", "'a:\\\\x1b[31m'")
    """
    return f"'{text}'" if text.isprintable() else ascii(text)
