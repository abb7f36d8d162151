"""``~`` at the beginning of a path, for every path that the shell has not expanded."""

from __future__ import annotations

from pathlib import Path

from spinlock.errors import ConfigError


def expand_user(path: str, key: str) -> str:
    """The path with a leading ``~`` or ``~user`` replaced by that home directory.

    Any other path comes back as it is; an empty one, which Python takes as the current directory,
    is an unset shell variable more often than not.

    Args:
        path: as it was given.
        key: the key or flag that it was given for, as messages call it.

    Raises:
        ConfigError: an empty path, or nobody's home directory.

    >>> expand_user("runs/~a", "--resume")
    'runs/~a'
    """
    if not path:
        raise ConfigError(
            f"{key}: expected a file or folder, got text without a character (an unset shell "
            "variable?); name one, '.' for the current directory"
        )
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ConfigError(
            f"{key}: {path!r} names a home directory that is not known; write the whole path, or "
            f"'./{path}' for a name that begins with ~"
        ) from error
