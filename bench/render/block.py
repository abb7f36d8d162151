"""A table before it is drawn: columns, lines of text, and what is said under it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.record import Row
from bench.render import units

__all__ = ["COST", "NONE", "Absent", "Block", "Column", "absentees", "size_or_none"]

NONE = "-"
COST = "cost of "
"""Begins the names of figures of exact contenders: time on a kind of data over that on mean 0."""


@dataclass(frozen=True)
class Column:
    """A column; where there is little room the highest ``drop`` goes first, 0 never.

    ``name`` may hold a line break, which Markdown shows as a space.
    """

    name: str
    drop: int = 0


@dataclass(frozen=True)
class Absent:
    """Contenders without figures: their status and why, with the indices that were wrong."""

    contender: str
    status: str
    note: str

    @property
    def text(self) -> str:
        """Status and reason in one line."""
        return f"{self.status}: {self.note}" if self.note else self.status


@dataclass(frozen=True)
class Block:
    """A table and what is said under it.

    Attributes:
        suite, name: what it shows; ``name`` is the workload, or the axis of a cost curve.
        title: both and the shape, in words.
        columns, lines: the cells, text; the first column names the line.
        own: the lines, by index, of spinlock's own contenders.
        absent: those that have no line.
        ratios: one sentence per own contender.
        remarks: what else a reader must know.
    """

    suite: str
    name: str
    title: str
    columns: list[Column]
    lines: list[list[str]]
    own: frozenset[int] = frozenset()
    absent: tuple[Absent, ...] = ()
    ratios: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def absentees(rows: Iterable[Row]) -> tuple[Absent, ...]:
    """The rows that have no figures; those with one reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.status != "ok":
            found.setdefault((row.status, _reason(row)), []).append(row.contender)
    return tuple(
        Absent("; ".join(dict.fromkeys(names)), status, reason)
        for (status, reason), names in found.items()
    )


def _reason(row: Row) -> str:
    shares = [f"{units.percent(share)} at {kind}" for kind, share in row.wrong.items()]
    return "; ".join(part for part in (row.note, _listed(shares)) if part)


def _listed(shares: list[str]) -> str:
    return f"indices wrong: {', '.join(shares)}" if shares else ""


def size_or_none(value: int | None) -> str:
    """Bytes, or a dash where they were not measured."""
    return units.size(value) if value is not None else NONE
