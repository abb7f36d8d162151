"""Words for messages."""

from __future__ import annotations


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "row"), counted(1200, "row"), counted(1, "category", "categories")
    ('1 row', '1,200 rows', '1 category')
    """
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
