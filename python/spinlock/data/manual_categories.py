"""Categories that a person has chosen: column names and globs per category."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from spinlock.data.columns import likely_names
from spinlock.data.table import listed
from spinlock.errors import ConfigError

REST = "*"


def assigned_columns(
    mapping: Mapping[str, Sequence[str]],
    names: Sequence[str],
    dropped: Mapping[str, str] | None = None,
) -> dict[str, list[int]]:
    """The columns of each category, in their own order; every column in exactly one.

    Args:
        mapping: category -> column names and globs (``fnmatch``, case-sensitive, against the whole
            ``family::name``); the glob ``*`` alone takes what no other entry names.
        names: of the cleaned columns.
        dropped: column -> why cleaning dropped it; such columns may be named.

    Raises:
        ConfigError: an entry that no column has, a column in no category or in two, a category
            that cleaning left empty; names them all.

    >>> assigned_columns({"size": ["s::*"], "rest": ["*"]}, ["s::w", "c::red", "s::h"])
    {'size': [0, 2], 'rest': [1]}
    """
    gone = dropped or {}
    owners: dict[int, list[str]] = {column: [] for column in range(len(names))}
    groups: dict[str, list[int]] = {category: [] for category in mapping}
    unknown: list[str] = []
    for category, entries in mapping.items():
        for entry in entries:
            if entry == REST:
                continue
            met = [column for column, name in enumerate(names) if _meets(name, entry)]
            if not met and not any(_meets(name, entry) for name in gone):
                unknown.append(entry)
            for column in met:
                if category not in owners[column]:
                    owners[column].append(category)
    if unknown:
        _refuse_unknown(unknown, [*names, *gone])
    twice = {names[c]: found for c, found in owners.items() if len(found) > 1}
    if twice:
        shown = "; ".join(f"{name} in {' and '.join(o)}" for name, o in list(twice.items())[:10])
        raise ConfigError(
            f"training.category_file: {len(twice)} columns are in several categories ({shown}); "
            "leave each in one."
        )
    takers = [category for category, entries in mapping.items() if REST in entries]
    if len(takers) > 1:
        raise ConfigError(
            f"training.category_file: {listed(takers)} all ask for the rest ('{REST}'); only one "
            "category can have it."
        )
    left = [names[column] for column, found in owners.items() if not found]
    if left and not takers:
        raise ConfigError(
            f"training.category_file: {len(left)} columns are in no category: {listed(left)}. Add "
            f"them, or a category with the entry '{REST}', which takes what is left."
        )
    for column, found in owners.items():
        groups[found[0] if found else takers[0]].append(column)
    _refuse_empty(groups, mapping, gone)
    return groups


def _meets(name: str, entry: str) -> bool:
    return name == entry or fnmatchcase(name, entry)


def _refuse_unknown(unknown: list[str], known: Sequence[str]) -> None:
    likely = likely_names(unknown[:5], known[:2000])
    meant = "".join(f"; is {listed([name])} meant for {entry}?" for entry, name in likely.items())
    raise ConfigError(
        f"training.category_file names columns that the data set does not have: {listed(unknown)}"
        f"{meant or '.'} Columns have the form 'family::name'."
    )


def _refuse_empty(
    groups: Mapping[str, list[int]],
    mapping: Mapping[str, Sequence[str]],
    dropped: Mapping[str, str],
) -> None:
    empty = [category for category, columns in groups.items() if not columns]
    if not empty:
        return
    category = empty[0]
    reasons = [
        f"{name}: {reason}"
        for name, reason in dropped.items()
        if any(_meets(name, entry) for entry in mapping[category])
    ]
    why = f" Cleaning dropped its columns ({listed(reasons, 5)})." if reasons else ""
    raise ConfigError(
        f"training.category_file: no column is left for {listed(empty)}.{why} Remove the category, "
        "or give it other columns."
    )
