"""How far two records of the same cases are apart, in their ratios at one thread."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from bench.errors import BenchError
from bench.record import Record
from bench.render import units
from bench.render.block import COST
from bench.render.ratios import cases, clocks, is_own, speedups
from bench.render.tables import drawn

__all__ = ["TOLERANCE", "Pair", "pairs", "text"]

TOLERANCE = 0.10
"""Two runs agree in a ratio that is within this of the other one."""


class Pair(NamedTuple):
    """One ratio, own contender against peer, in both records."""

    suite: str
    workload: str
    own: str
    peer: str
    first: float
    second: float

    @property
    def apart(self) -> float:
        """By how much the larger one exceeds the smaller one.

        >>> round(Pair("", "", "", "", 2.0, 2.1).apart, 3)
        0.05
        """
        return max(self.first, self.second) / min(self.first, self.second) - 1.0


def pairs(first: Record, second: Record) -> list[Pair]:
    """Every ratio that both hold, in the order of the first; cost curves are no ratios."""
    theirs = _ratios(second)
    return [
        Pair(*key, ratio, theirs[key]) for key, ratio in _ratios(first).items() if key in theirs
    ]


def _ratios(record: Record) -> dict[tuple[str, str, str, str], float]:
    """(suite, workload, own contender, peer) -> times faster, on the clock of the tables.

    What an exact lookup costs on other data, against mean 0, is such a ratio as well.
    """
    found = {}
    for (suite, workload), rows in cases(record.rows).items():
        done = [row for row in rows if row.status == "ok" and row.suite != "curves"]
        for row in (row for row in done if is_own(row.contender)):
            for clock in clocks(done)[:1]:
                for peer, times in speedups(row, done, clock).items():
                    found[suite, workload, row.contender, peer] = times
            costs = {name: cost for name, cost in row.figures.items() if name.startswith(COST)}
            costs.pop(f"{COST}mean 0", None)
            found |= {(suite, workload, row.contender, name): c for name, c in costs.items()}
    return found


def text(first: Record, second: Record) -> str:
    """How many ratios agree, the typical distance, and those that do not.

    Raises:
        BenchError: they have no ratio in common.
    """
    found = pairs(first, second)
    if not found:
        raise BenchError("agreement: expected two records with timed cases in common")
    apart = [pair for pair in found if pair.apart > TOLERANCE]
    dates = [str(record.environment.get("date", "no date")) for record in (first, second)]
    said = (
        f"Of {len(found)} ratios that both runs hold ({dates[0]} and {dates[1]}), "
        f"{len(found) - len(apart)} agree within {TOLERANCE:.0%}; half of them are within "
        f"{median(pair.apart for pair in found):.1%}."
    )
    if not apart:
        return said
    lines = [
        [*pair[:4], units.ratio(pair.first), units.ratio(pair.second), f"{pair.apart:.0%}"]
        for pair in sorted(apart, key=lambda pair: -pair.apart)
    ]
    columns = ["suite", "workload", "", "against", "one run", "the other", "apart"]
    return f"{said} The others:\n\n{drawn(columns, lines, left=4)}"
