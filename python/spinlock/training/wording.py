"""Words for messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spinlock.errors import ConfigError

# The analysis knows keys without the section that they are in.
_OF_MODEL = ("compression_ratios:", "levels:", "levels.", "num_levels:")


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "row"), counted(1200, "row"), counted(1, "category", "categories")
    ('1 row', '1,200 rows', '1 category')
    """
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


@contextmanager
def keys_of_model() -> Iterator[None]:
    """Messages of the analysis name keys as the configuration does.

    Raises:
        ConfigError: what was raised inside, a key at its beginning with ``model.`` before it.

    >>> with keys_of_model():
    ...     raise ConfigError("levels: given for unknown x")
    Traceback (most recent call last):
    spinlock.errors.ConfigError: model.levels: given for unknown x
    """
    try:
        yield
    except ConfigError as error:
        if not str(error).startswith(_OF_MODEL):
            raise
        raise ConfigError(f"model.{error}") from error
