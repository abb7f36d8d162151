"""Which columns of a data set are left out, and which one holds the labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from spinlock.data.columns import likely_names
from spinlock.data.table import SEPARATOR, listed
from spinlock.errors import DataConfigError


@dataclass(frozen=True, eq=False)
class Selection:
    """What is asked of a data set beside its families; one object per opened data set.

    Attributes:
        exclude: names or globs (``fnmatch``, case-sensitive) of columns to leave out, matched
            against ``family::name`` and against what stands behind the last ``::``.
        label: the array or column that holds the labels; None: ``labels``, where there is one.
        required: what is named must be there; else it is left out where it is.
        used: the entries of ``exclude`` that have met a column.

    >>> selection = Selection(("id", "shape::*_raw"))
    >>> [selection.excludes(name) for name in ("features::id", "shape::area_raw", "shape::area")]
    [True, True, False]
    """

    exclude: tuple[str, ...] = ()
    label: str | None = None
    required: bool = True
    used: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, exclude: Sequence[str], label: str | None, *, required: bool = True) -> "Selection":
        """Checked.

        Raises:
            DataConfigError: a text instead of a list, or an empty name.
        """
        if isinstance(exclude, str):
            raise DataConfigError(
                f"exclude_columns is {exclude!r}; expected a list of names or globs."
            )
        if "" in exclude or label == "":
            raise DataConfigError(
                "exclude_columns and label_column expect names; got an empty text."
            )
        return cls(tuple(exclude), label, required)

    def excludes(self, name: str) -> bool:
        """Whether a column is left out; remembers the entries that said so."""
        bare = name.rpartition(SEPARATOR)[2]
        met = [p for p in self.exclude if fnmatchcase(name, p) or fnmatchcase(bare, p)]
        self.used.update(met)
        return bool(met)

    def require_used(self, where: str, names: Sequence[str]) -> None:
        """Refuse entries that no column of ``names`` or of the file has met.

        Raises:
            DataConfigError: names them, with what may be meant.
        """
        unused = [pattern for pattern in self.exclude if pattern not in self.used]
        if unused and self.required:
            likely = likely_names(unused[:5], names[:2000])
            meant = f" Perhaps {listed(list(likely.values()))}?" if likely else ""
            raise DataConfigError(
                f"exclude_columns names {listed(unused)}, but no column of {where} is called "
                f"that.{meant} Columns have the form 'family{SEPARATOR}name'."
            )
