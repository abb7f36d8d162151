"""What spinlock raises: every message names the thing, what was expected, what came, the remedy.

All are ``ValueError`` as well, so that callers who know only the standard library catch them.
"""


class SpinlockError(ValueError):
    """Base class: the text of every subclass is written for the person at the keyboard."""


class ConfigError(SpinlockError):
    """A configuration file, flag or plan that cannot be used."""


class DataError(SpinlockError):
    """A data set, column or feature matrix that cannot be used."""


class DataConfigError(ConfigError, DataError):
    """A key of the configuration that asks a data set for what it has not: a family, a label."""


class LayoutError(SpinlockError):
    """Codebook sizes, dimensions or an alignment that describe no layout."""


class InputError(SpinlockError):
    """A tensor, index or argument that does not fit the quantizer or model it was given to."""


class CheckpointError(SpinlockError):
    """A checkpoint folder that is missing, damaged, foreign or from a newer format."""


class EngineError(SpinlockError):
    """Work on another machine or process that could not be done."""


def import_failure(error: ImportError) -> str:
    """What a message adds about an optional package: nothing where it is missing, else the reason.

    >>> import_failure(ModuleNotFoundError("No module named 'pyarrow'"))
    ''
    >>> import_failure(ImportError("libarrow.so: file too short"))
    ' (it is there, but: libarrow.so: file too short)'
    """
    missing = isinstance(error, ModuleNotFoundError) and "." not in (error.name or "")
    return "" if missing else f" (it is there, but: {error})"
