"""Passes over data and training in one and in two processes, and what follows for a cluster.

    python -m bench.scaling --output bench/results/scaling.json
    python -m bench.scaling --render docs/scaling.md

Measures each pass in this process and on Ray with one and two processors, interleaved; each pass
in this process at several widths, with the bytes that a part's result has; and training by
torchrun with one and two processes.  docs/scaling.md is made from the record.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.quality_grid import RESULTS, environment
from bench.scaling_model import SCENARIOS, Scenario, pass_cost, sample_bytes, training_cost
from bench.scaling_passes import PASSES, speed_up, widths
from bench.scaling_training import training
from spinlock.data.parts import PART_ROWS

_WIDTHS = (64, 256, 1024)


def main(arguments: list[str] | None = None) -> int:
    """Measures and writes the record, or fills in a page; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.render is not None:
        page = options.render.read_text(encoding="utf-8")
        options.render.write_text(rendered(page), encoding="utf-8")
        return 0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="scaling-") as name:
        folder, repeats = Path(name), options.repeats
        record = {
            "environment": environment(),
            "speed_up": speed_up(folder, options.parts * PART_ROWS, 64, options.parts, repeats),
            "widths": widths(folder, options.rows, _WIDTHS, repeats),
            "training": training([512, 4096], options.epochs, repeats),
        }
    text = json.dumps(record, indent=1) + "\n"
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0


def passes_table(record: dict[str, Any]) -> str:
    """Seconds of each pass, and the efficiency of two processors."""
    measured = record["speed_up"]
    lines = [
        f"{measured['rows']:,} rows x {measured['columns']} columns in {measured['files']} files, "
        f"{measured['files']} parts; medians of {measured['repeats']}.",
        "",
        "| pass | this process | Ray, 1 processor | Ray, 2 processors | efficiency of 2 |",
        "|---|---|---|---|---|",
    ]
    for found in measured["passes"]:
        seconds = found["seconds"]
        cells = [f"{seconds[label]:.1f} s" for label in ("local", "ray 1", "ray 2")]
        lines.append(f"| {found['pass']} | {' | '.join(cells)} | {found['efficiency']:.0%} |")
    return "\n".join(lines)


def widths_table(record: dict[str, Any]) -> str:
    """Nanoseconds per value and bytes of a part's result, by the number of columns."""
    runs = record["widths"]
    columns = sorted({run["columns"] for run in runs})
    heads = [f"{count} columns" for count in columns]
    lines = [
        "| pass | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
    ]
    for name in PASSES:
        cells = []
        for count in columns:
            run = next(r for r in runs if r["pass"] == name and r["columns"] == count)
            nanoseconds = 1e9 * run["seconds"] / (run["rows"] * count)
            cells.append(f"{nanoseconds:.1f} ns, {size(run['result_bytes'])}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def training_table(record: dict[str, Any]) -> str:
    """Seconds and bytes of a step."""
    lines = [
        "| batch | 1 process | 2 processes | efficiency | messages per step | bytes per step "
        "| bytes more per epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in record["training"]:
        seconds = run["step_seconds"]
        lines.append(
            f"| {run['batch_size']:,} | {1e3 * seconds['1']:.1f} ms | {1e3 * seconds['2']:.1f} ms "
            f"| {run['efficiency']:.0%} | {run['messages_per_step']} "
            f"| {run['bytes_per_step']:,} | {run['bytes_per_epoch']:,} |"
        )
    return "\n".join(lines)


def model_table(record: dict[str, Any]) -> str:
    """What every scenario would take."""
    heads = [_heading(scenario) for scenario in SCENARIOS]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]

    def row(name: str, cell: Callable[[Scenario], str]) -> None:
        lines.append(f"| {name} | " + " | ".join(map(cell, SCENARIOS)) + " |")

    row("data, float32", lambda s: size(4.0 * s.rows * s.features))
    for name in PASSES:
        row(f"{name}: hours", lambda s, n=name: hours(pass_cost(record, n, s).wall_hours))  # type: ignore[misc]
    row("fit: results of a part", lambda s: size(pass_cost(record, "fit", s).result_bytes))
    row("fit: taken in by one process", lambda s: size(pass_cost(record, "fit", s).network_bytes))
    row("fit: hours for that", lambda s: hours(pass_cost(record, "fit", s).merge_hours))
    row("fit: row sample in one process", lambda s: size(sample_bytes(s)))
    row("training: numbers in the model", lambda s: f"{training_cost(record, s).parameters:,}")
    row("training: bytes per step", lambda s: size(training_cost(record, s).bytes_per_step))
    row("training: computing a step", lambda s: ms(training_cost(record, s).compute_seconds))
    row("training: adding up a step", lambda s: ms(training_cost(record, s).network_seconds))
    return "\n".join(lines)


def _heading(scenario: Scenario) -> str:
    power = len(str(scenario.rows)) - 1
    return (
        f"10^{power} rows x {scenario.features:,} features, {3 * scenario.categories:,} codebooks, "
        f"{scenario.workers:,} workers, batch {scenario.batch_size:,}"
    )


TABLES = {
    "passes": passes_table,
    "widths": widths_table,
    "training": training_table,
    "model": model_table,
}


def rendered(page: str) -> str:
    """A page with what is between ``<!-- scaling-passes: FILE -->`` and the like made anew."""

    def made(match: re.Match[str]) -> str:
        record = json.loads((RESULTS / match["file"]).read_text(encoding="utf-8"))
        return f"{match['marker']}\n{TABLES[match['kind']](record)}\n<!-- end -->"

    marker = rf"(?P<marker><!-- scaling-(?P<kind>{'|'.join(TABLES)}): (?P<file>\S+) -->)"
    return re.sub(rf"{marker}.*?<!-- end -->", made, page, flags=re.DOTALL)


def size(count: float) -> str:
    """Bytes in words.

    >>> size(36), size(1.5e6), size(2.25e12)
    ('36 B', '1.5 MB', '2.2 TB')
    """
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def hours(value: float) -> str:
    """Hours with two digits that count.

    >>> hours(0.012), hours(123.4)
    ('0.012', '123')
    """
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


def ms(seconds: float) -> str:
    """Milliseconds with two digits that count."""
    return f"{hours(1e3 * seconds)} ms"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, default=8, help="parts of the set for two processors")
    parser.add_argument("--rows", type=int, default=65_536, help="rows of the sets of many widths")
    parser.add_argument("--epochs", type=int, default=20, help="of training")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for the data; by default the system's own")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--render", type=Path, metavar="PAGE", help="fill in the tables of a page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
