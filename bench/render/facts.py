"""The measured limits and the environment of a record, as cells."""

from __future__ import annotations

import re
from typing import Any

from bench.record import Record
from bench.render import units
from bench.render.block import NONE

__all__ = ["environment_cells", "limit_cells", "short"]


def limit_cells(record: Record) -> tuple[list[str], list[list[str]]]:
    """The measured limits: header and lines, one column per number of threads."""
    found: dict[str, dict[str, str]] = {}
    for name, value in record.limits.items():
        head, threads = _threads_of(name)
        found.setdefault(head, {})[threads] = units.number(value)
    counts = list(dict.fromkeys(count for values in found.values() for count in values))
    lines = [
        [name, *(values.get(count, NONE) for count in counts)] for name, values in found.items()
    ]
    return ["limit", *(count or "measured" for count in counts)], lines


def environment_cells(record: Record) -> list[list[str]]:
    """Machine, versions, date and the command: pairs of name and text."""
    pairs = [[str(key), _flat(value)] for key, value in record.environment.items()]
    return [*pairs, ["command", record.command]]


def short(limit: str) -> str:
    """A limit's name without its unit and threads.

    >>> short("fp32 FMA GFLOP/s, 1 thread"), short("read GB/s from L2, 2 threads")
    ('fp32 FMA', 'read from L2')
    """
    head, _ = _threads_of(limit)
    return " ".join(re.sub(r"\b[GT](FLOP|B)/s", "", head).split())


def _threads_of(limit: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.*), (\d+ threads?)", limit)
    return (match[1], match[2]) if match else (limit, "")


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_flat(entry) for entry in value)
    return str(value)
