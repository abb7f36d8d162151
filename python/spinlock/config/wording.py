"""How messages print values, keys and lists of problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_MOST_LINES = 40
_MOST_CHARACTERS = 60


def report(source: str, lines: Sequence[str]) -> str:
    """One message out of several: on one line if it is a single one.

    >>> print(report("'x.yaml'", ["a: unknown key", "b: missing"]))
    2 problems in 'x.yaml':
      a: unknown key
      b: missing
    """
    unique = list(dict.fromkeys(lines))
    if len(unique) == 1:
        return f"{source}: {unique[0]}"
    listed = unique[:_MOST_LINES]
    if len(listed) < len(unique):
        listed.append(f"... and {len(unique) - len(listed)} more")
    return "\n  ".join([f"{len(unique)} problems in {source}:", *listed])


def shown(value: Any, *, with_kind: bool = True) -> str:
    """A value as messages print it: short, printable, its kind made clear where asked.

    >>> [shown(v) for v in ("512", True, None, 0.5, [1, 2], {"a": 1})]
    ["text '512'", 'true', 'null', '0.5', 'the list [1, 2]', "the mapping {'a': 1}"]
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kinds: dict[type, str] = {str: "text ", list: "the list ", dict: "the mapping "}
    kind = kinds.get(type(value), "")
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except ValueError:  # an integer of thousands of digits
        text = f"a {type(value).__name__} too long to print"
    if len(text) > _MOST_CHARACTERS:
        text = text[: _MOST_CHARACTERS - 3] + "..."
    return kind + text if with_kind else text


def dotted(location: Sequence[str | int]) -> str:
    """A location as it is written in messages and for ``--set``.

    >>> dotted(("model", "levels", "shape", 0, "num_tokens"))
    'model.levels.shape[0].num_tokens'
    """
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part.isprintable() else ascii(part)
            text += f".{name}" if text else name
    return text
