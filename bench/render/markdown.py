"""A record as Markdown, and the tables of docs pages filled in from recorded results.

    <!-- bench: FILE PIECE ... -->
    <!-- end -->

What is between the two markers is replaced by the piece, of bench/results/FILE:

| piece | |
|---|---|
| ``table SUITE WORKLOAD`` | one table with what is said under it; ``table curves AXIS`` |
| ``ratios [SUITE]`` | how many times faster each of ours is than each peer |
| ``ratio SUITE WORKLOAD OWN PEER`` | one of those, inside a sentence |
| ``limits``, ``environment``, ``noise`` | what was measured about the machine |
| ``record`` | all of it |

Names with spaces stand in quotes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.record import Record, Row
from bench.render import units
from bench.render.block import NONE, Block
from bench.render.cells import blocks
from bench.render.facts import environment_cells, limit_cells
from bench.render.ratios import clocks, is_own, speedups

__all__ = [
    "RESULTS",
    "environment_table",
    "limits_table",
    "markdown",
    "noise",
    "ratio",
    "ratios",
    "rendered",
    "table",
]

RESULTS = Path(__file__).parents[1] / "results"
_MARKED = re.compile(r"(?P<open><!-- bench: (?P<spec>[^\n]+?) -->)(?P<body>.*?)<!-- end -->", re.S)
_OPENING = re.compile(r"<!-- bench: ")


def markdown(record: Record) -> str:
    """The whole record: command, limits, tables, ratios, noise, environment."""
    parts = [f"`{record.command}`", "## Limits", limits_table(record)]
    for block in blocks(record):
        parts += [f"## {_escaped(block.title)}", _block(block)]
    if any(is_own(row.contender) for row in record.rows):
        parts += ["## Times faster than", ratios(record)]
    parts += ["## Noise", noise(record), "## Environment", environment_table(record)]
    return "\n\n".join(parts) + "\n"


def table(record: Record, suite: str, workload: str) -> str:
    """The table of one suite and workload (of ``curves``: an axis), and what is said under it.

    Raises:
        BenchError: the record has no such rows.
    """
    for block in blocks(record):
        if (block.suite, block.name) == (suite, workload):
            return _block(block)
    known = ", ".join(f"'{block.suite} {block.name}'" for block in blocks(record))
    raise BenchError(f"table: expected one of {known or 'no rows'}, got '{suite} {workload}'")


def ratios(record: Record, suite: str | None = None) -> str:
    """Times faster than each peer, one line per suite, workload and own contender.

    Raises:
        BenchError: the record has no rows of that suite.
    """
    rows = [row for row in record.rows if row.suite != "curves" and suite in (None, row.suite)]
    if suite is not None and not rows:
        raise BenchError(f"ratios: expected a suite of the record, got '{suite}'")
    cases = _cases(rows)
    peers = list(dict.fromkeys(row.contender for row in rows if not is_own(row.contender)))
    peers = [p for p in peers if any(r.contender == p and r.timings for r in rows)]
    lines = []
    for (name, workload), case in cases.items():
        for row in (row for row in case if is_own(row.contender)):
            if row.timings or row.status == "wrong":
                cells = [_ratio_cell(row, case, peer) for peer in peers]
                lines.append([name, workload, row.contender, *cells])
    if not lines:
        return "No contender of spinlock was timed."
    return _drawn(["suite", "workload", "", *peers], lines, left=3)


def ratio(record: Record, suite: str, workload: str, own: str, peer: str) -> str:
    """One ratio, such as ``2.3x``.

    Raises:
        BenchError: it was not measured.
    """
    case = _cases(record.rows).get((suite, workload), [])
    done = [row for row in case if row.status == "ok"]
    found = clocks(done)
    for row in done:
        if row.contender == own and found:
            times = speedups(row, done, found[0])
            if peer in times:
                return units.ratio(times[peer])
    names = ", ".join(row.contender for row in done) or "nothing"
    raise BenchError(
        f"ratio: expected two contenders timed in {suite} {workload} ({names}), "
        f"the second one a peer, got '{own}' and '{peer}'"
    )


def limits_table(record: Record) -> str:
    """The machine's limits, one column per number of threads."""
    columns, lines = limit_cells(record)
    return _drawn(columns, lines) if lines else "The limits were not measured."


def environment_table(record: Record) -> str:
    """Machine, versions, date and command."""
    return _drawn(["", ""], environment_cells(record), left=2)


def noise(record: Record) -> str:
    """What disturbed the run."""
    sentences = record.noise or ["nothing disturbed the run, as far as the bench can see"]
    return "\n".join(f"- {_escaped(sentence)}" for sentence in sentences)


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


def _filled(match: re.Match[str], results: Path) -> str:
    try:
        words = shlex.split(match["spec"])
    except ValueError as error:
        raise BenchError(f"{match['open']}: {error}") from error
    if len(words) < 2:
        raise BenchError(f"{match['open']}: expected a file and a piece")
    file, piece, *arguments = words
    text = _piece(match["open"], Record.load(results / file), piece, arguments)
    gap = "" if piece == "ratio" else "\n"
    return f"{match['open']}{gap}{text.strip()}{gap}<!-- end -->"


def _piece(where: str, record: Record, piece: str, arguments: Sequence[str]) -> str:
    makers: dict[str, tuple[Callable[..., str], tuple[int, ...]]] = {
        "table": (table, (2,)),
        "ratios": (ratios, (0, 1)),
        "ratio": (ratio, (4,)),
        "limits": (limits_table, (0,)),
        "environment": (environment_table, (0,)),
        "noise": (noise, (0,)),
        "record": (markdown, (0,)),
    }
    if piece not in makers:
        raise BenchError(f"{where}: expected one of {', '.join(makers)}, got '{piece}'")
    make, counts = makers[piece]
    if len(arguments) not in counts:
        wanted = " or ".join(str(count) for count in counts)
        raise BenchError(f"{where}: {piece} takes {wanted} names, got {len(arguments)}")
    try:
        return make(record, *arguments)
    except BenchError as error:
        raise BenchError(f"{where}: {error}") from error


def _block(block: Block) -> str:
    columns = [column.name.replace("\n", " ") for column in block.columns]
    lines = [list(line) for line in block.lines]
    for number in block.own:
        lines[number][0] = f"**{lines[number][0]}**"
    width = len(columns)
    if width > 1 and columns[0]:
        lines += [[a.contender, a.text, *[""] * (width - 2)] for a in block.absent]
        loose = []
    else:
        loose = [f"{absent.contender}: {absent.text}" for absent in block.absent]
    left = 1 + (width > 1 and not columns[1])
    sentences = [*loose, *block.ratios, *block.remarks]
    said = "\n".join(f"- {_escaped(sentence)}" for sentence in sentences)
    return "\n\n".join(part for part in (_drawn(columns, lines, left=left), said) if part)


def _ratio_cell(row: Row, case: list[Row], peer: str) -> str:
    if row.status != "ok":
        return row.status
    found = clocks([other for other in case if other.status == "ok"])
    times = speedups(row, case, found[0])
    if peer in times:
        return units.ratio(times[peer])
    return next((r.status for r in case if r.contender == peer and r.status != "ok"), NONE)


def _cases(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.suite, row.workload), []).append(row)
    return found


def _drawn(columns: list[str], lines: list[list[str]], *, left: int = 1) -> str:
    """A Markdown table; the first columns to the left, numbers to the right."""
    rules = ["---" if number < left else "---:" for number in range(len(columns))]
    shown = [[_escaped(cell) for cell in line] for line in (columns, *lines)]
    shown.insert(1, rules)
    return "\n".join("| " + " | ".join(line) + " |" for line in shown)


def _escaped(text: str) -> str:
    """Text that stays in its cell: no bar and no line break of its own."""
    return " ".join(text.split()).replace("|", "\\|")
