"""Docs pages whose tables and numbers are filled in from recorded results.

    <!-- bench: FILE PIECE ... -->
    <!-- end -->

What is between the two markers is replaced by the piece, of bench/results/FILE:

| piece | |
|---|---|
| ``table SUITE WORKLOAD`` | one table with what is said under it; ``table curves AXIS`` |
| ``ratios [SUITE [CLOCK]]`` | how many times faster each of ours is than each peer; ``all`` |
| ``ratio SUITE WORKLOAD OWN PEER`` | one of those, inside a sentence |
| ``figure SUITE WORKLOAD CONTENDER NAME`` | a figure of a suite, inside a sentence |
| ``goals [WORKLOAD ...]`` | what was to be reached, and what was |
| ``slower OWN`` | every case in which a peer is faster, or holds less memory |
| ``agreement FILE`` | how far the ratios of two records are apart |
| ``picture PATH KIND [SUITE ...]`` | ``bars``, ``roofline`` or ``curves``, of those suites |
| ``limits``, ``environment``, ``noise`` | what was measured about the machine |
| ``record [LEVEL]`` | all of it, headings from that level on |

Names with spaces stand in quotes.  ``FILE?`` is a record that may not be there yet.  A picture's
path is relative to the page; :func:`pictures` says what has to be drawn there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError
from bench.record import Record
from bench.render import agreement, goals, markdown, plots

__all__ = ["RESULTS", "Picture", "pictures", "rendered"]

RESULTS = Path(__file__).parents[1] / "results"
_MARKED = re.compile(r"(?P<open><!-- bench: (?P<spec>[^\n]+?) -->)(?P<body>.*?)<!-- end -->", re.S)
_OPENING = re.compile(r"<!-- bench: ")
_INSIDE_A_SENTENCE = ("ratio", "figure")
_NOT_YET = "*There is no such record yet.*"


class Picture(NamedTuple):
    """A picture that a page shows: the record it is made from, what it shows, and where it lies."""

    record: Record
    kind: str
    path: str


def rendered(page: str, results: Path = RESULTS) -> str:
    """A page with what is between its markers made from the recorded results.

    Raises:
        BenchError: an unknown piece, one the record doesn't hold, or a marker without its end.
    """
    found = list(_MARKED.finditer(page))
    for match in found:
        if _OPENING.search(match["body"]):
            raise BenchError(f"{match['open']}: expected its '<!-- end -->' before the next marker")
    if len(found) < len(_OPENING.findall(page)):
        raise BenchError("a '<!-- bench: ... -->' without its '<!-- end -->': add it")
    return _MARKED.sub(lambda match: _filled(match, results), page)


def pictures(page: str, results: Path = RESULTS) -> list[Picture]:
    """What a page shows that :func:`rendered` has accepted, of the records that are there."""
    found = []
    for match in _MARKED.finditer(page):
        file, piece, *arguments = shlex.split(match["spec"])
        path = results / file.removesuffix("?")
        if piece == "picture" and (path.exists() or not file.endswith("?")):
            place, kind, *suites = arguments
            found.append(Picture(_of_suites(Record.load(path), suites), kind, place))
    return found


def _of_suites(record: Record, suites: Sequence[str]) -> Record:
    return replace(record, rows=[r for r in record.rows if not suites or r.suite in suites])


def _picture(record: Record, place: str, kind: str, *suites: str) -> str:
    """The line that shows it.

    Raises:
        BenchError: an unknown kind, or a suite that the record doesn't hold.
    """
    known = {row.suite for row in record.rows}
    if kind not in plots.KINDS or not known.issuperset(suites):
        raise BenchError(
            f"picture: expected one of {', '.join(plots.KINDS)} and suites of the record, "
            f"got {' '.join((kind, *suites))!r}"
        )
    return f"![{' '.join((kind, *suites))}]({place})"


def _filled(match: re.Match[str], results: Path) -> str:
    try:
        words = shlex.split(match["spec"])
    except ValueError as error:
        raise BenchError(f"{match['open']}: {error}") from error
    if len(words) < 2:
        raise BenchError(f"{match['open']}: expected a file and a piece")
    file, piece, *arguments = words
    path = results / file.removesuffix("?")
    if file.endswith("?") and not path.exists():
        text = _NOT_YET
    else:
        text = _piece(match["open"], Record.load(path), piece, arguments, results)
    gap = "" if piece in _INSIDE_A_SENTENCE else "\n"
    return f"{match['open']}{gap}{text.strip()}{gap}<!-- end -->"


def _piece(where: str, record: Record, piece: str, arguments: Sequence[str], results: Path) -> str:
    makers: dict[str, tuple[Callable[..., str], Sequence[int]]] = {
        "table": (markdown.table, (2,)),
        "ratios": (markdown.ratios, (0, 1, 2)),
        "ratio": (markdown.ratio, (4,)),
        "figure": (markdown.figure, (4,)),
        "goals": (goals.goals_table, range(9)),
        "slower": (markdown.slower, (1,)),
        "agreement": (lambda one, file: agreement.text(one, Record.load(results / file)), (1,)),
        "picture": (_picture, range(2, 9)),
        "limits": (markdown.limits_table, (0,)),
        "environment": (markdown.environment_table, (0,)),
        "noise": (markdown.noise, (0,)),
        "record": (markdown.markdown, (0, 1)),
    }
    if piece not in makers:
        raise BenchError(f"{where}: expected one of {', '.join(makers)}, got '{piece}'")
    make, counts = makers[piece]
    if len(arguments) not in counts:
        wanted = " or ".join(dict.fromkeys(str(count) for count in (counts[0], counts[-1])))
        raise BenchError(f"{where}: {piece} takes {wanted} names, got {len(arguments)}")
    try:
        return make(record, *arguments)
    except BenchError as error:
        raise BenchError(f"{where}: {error}") from error
