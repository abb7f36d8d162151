"""What a run leaves behind: rows of plain values, written as JSON and read again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.errors import BenchError

__all__ = ["FORMAT", "Record", "Row", "Status", "Timing"]

FORMAT = 1

Status = Literal["ok", "missing", "wrong", "skipped", "failed"]


@dataclass(frozen=True)
class Timing:
    """Seconds per call on one clock.

    Attributes:
        clock: ``cpu`` (thread processor time), ``wall``, ``events`` or ``graph`` (CUDA).
        threads: CPU threads that were allowed.
        median, p20, p80: seconds per call, over the samples.
        samples: how many; each is one or more calls.
        speedup: contender -> how many times faster this one is, the median over the rounds in
            which both were sampled, each round side by side.
    """

    clock: str
    threads: int
    median: float
    p20: float
    p80: float
    samples: int
    speedup: dict[str, float] = field(default_factory=dict)

    @property
    def spread(self) -> float:
        """(p80 - p20) / median."""
        return (self.p80 - self.p20) / self.median if self.median else 0.0


@dataclass(frozen=True)
class Row:
    """One contender on one workload of one suite.

    Attributes:
        suite, workload, contender: names; a contender's variant is part of its name.
        shape: the workload in words.
        device: ``cpu`` or ``cuda``.
        status: ``ok``; ``missing`` (not installed, not for this device), ``wrong`` (the gate:
            no speed is kept), ``skipped`` (would take too long), ``failed`` (it raised).
        note: why, or what else a reader must know.
        timings: empty unless ``ok``.
        flops, bytes: the least the work needs; 0 where that has no meaning.
        peak_bytes: the most memory one call held beyond its inputs, where it was measured.
        wrong: kind of data -> share of indices that differ from the float64 truth.
        figures: other named results of a suite, in the units their names say.
        peaks: the multiply-add peaks between the samples, the median burst of each, in place of the
            run's limits of those names: clocks change while a run lasts.
    """

    suite: str
    workload: str
    contender: str
    shape: str = ""
    device: str = "cpu"
    status: Status = "ok"
    note: str = ""
    timings: tuple[Timing, ...] = ()
    flops: float = 0.0
    bytes: float = 0.0
    peak_bytes: int | None = None
    wrong: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)

    def timing(self, clock: str | None = None) -> Timing | None:
        """The timing on that clock, or the first one."""
        for timing in self.timings:
            if clock in (None, timing.clock):
                return timing
        return None


@dataclass(frozen=True)
class Record:
    """Everything one run of the bench printed.

    Attributes:
        command: how it was called.
        environment: machine, versions, date.
        limits: the machine's limits as measured in the same run: name -> number, in the units
            its name says.
        noise: what disturbed the run, in sentences; empty where nothing did.
        rows: in the order measured.
    """

    command: str
    environment: dict[str, Any]
    limits: dict[str, float]
    noise: list[str]
    rows: list[Row]

    def to_json(self) -> str:
        """The record as JSON text."""
        data = dataclasses.asdict(self)
        for row in data["rows"]:
            if not row["peaks"]:  # records made before there were any keep their text
                del row["peaks"]
        return json.dumps({"format": FORMAT, **data}, indent=1) + "\n"

    def limits_of(self, row: Row) -> dict[str, float]:
        """What the machine allowed while a row was measured."""
        return self.limits | row.peaks

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that no other record has."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    @classmethod
    def load(cls, path: Path) -> Record:
        """Reads what ``to_json`` wrote.

        Raises:
            BenchError: no such file, or one of another format.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("format") != FORMAT:
                raise ValueError("another format")
            rows = [
                Row(**{**row, "timings": tuple(Timing(**t) for t in row["timings"])})
                for row in data.pop("rows")
            ]
            return cls(rows=rows, **data)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BenchError(
                f"{path}: expected a record of `python -m bench --json`, format {FORMAT} ({error})"
            ) from error
