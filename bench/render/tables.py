"""Markdown tables."""

from __future__ import annotations

__all__ = ["drawn", "escaped"]


def drawn(columns: list[str], lines: list[list[str]], *, left: int = 1) -> str:
    """A Markdown table; the first columns to the left, numbers to the right.

    >>> print(drawn(["who", "time"], [["a|b", "12 ms"]]))
    | who | time |
    | --- | ---: |
    | a\\|b | 12 ms |
    """
    rules = ["---" if number < left else "---:" for number in range(len(columns))]
    shown = [[escaped(cell) for cell in line] for line in (columns, *lines)]
    shown.insert(1, rules)
    return "\n".join("| " + " | ".join(line) + " |" for line in shown)


def escaped(text: str) -> str:
    """Text that stays in its cell: no bar and no line break of its own."""
    return " ".join(text.split()).replace("|", "\\|")
