"""``~`` at the beginning of a path, for every path that the shell has not expanded."""

from __future__ import annotations

from pathlib import Path

from spinlock.errors import ConfigError


def expand_user(path: str, key: str) -> str:
    """The path with a leading ``~`` or ``~user`` replaced by that home directory.

    Any other path comes back as it is.

    Args:
        path: as it was given.
        key: the key or flag that it was given for, as messages call it.

    Raises:
        ConfigError: nobody's home directory.

    >>> expand_user("runs/~a", "--resume")
    'runs/~a'
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ConfigError(
            f"{key}: {path!r} names a home directory that is not known; write the whole path, or "
            f"'./{path}' for a name that begins with ~"
        ) from error
