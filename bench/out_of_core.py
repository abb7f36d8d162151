"""Peak memory and time of every command on a Parquet data set larger than the memory.

    python -m bench.out_of_core --gigabytes 20 --output bench/results/out-of-core.json
    python -m bench.out_of_core --gigabytes 6 --files 24 --engine ray --decode
    python -m bench.out_of_core --render docs/training.md

Writes a synthetic table of heavy-tailed factors, 118 float32 columns in seven families,
uncompressed; analyses it with ``fit_rows: all``, trains on a sample, encodes every row and, where
asked to, diagnoses the model on all rows and decodes the tokens again, each as a process of its
own; removes all of it.  Peak memory is the kernel's figure for that process, ``ru_maxrss``; with
``--engine ray`` it is that of all processes, Ray's own included, with shared pages counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.process_memory import TreeMemory
from bench.quality_grid import RESULTS, environment

FAMILIES = {"shape": 24, "count": 5, "colour": 11, "edges": 10, "flow": 17, "wave": 20, "text": 31}
ROWS_PER_GROUP = 65_536
FACTORS = 4


def main(arguments: list[str] | None = None) -> int:
    """Writes the data, runs the commands, records what they took; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.render is not None:
        page = options.render.read_text(encoding="utf-8")
        options.render.write_text(rendered(page), encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="out-of-core-") as name:
        folder = Path(name)
        rows = round(options.gigabytes * 1e9 / (4 * sum(FAMILIES.values())))
        free = shutil.disk_usage(folder).free
        if options.gigabytes * 2.2e9 > free:
            print(f"{folder} has {free / 1e9:.0f} GB free, too little", file=sys.stderr)
            return 1
        data = write_files(folder / "data", rows, options.files)
        record = {
            "environment": environment(),
            "rows": rows,
            "columns": sum(FAMILIES.values()),
            "bytes": sum(path.stat().st_size for path in data.iterdir()),
            "files": options.files,
            "engine": options.engine,
            "sample": options.sample,
            "epochs": options.epochs,
            "steps": [
                measured(what, command, folder, whole_tree=options.engine != "local")
                for what, command in commands(data, options, folder)
            ],
        }
    print(markdown(record))
    if options.output is not None:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def write_files(folder: Path, rows: int, files: int) -> Path:
    """The rows in files of about the same size; the folder."""
    folder.mkdir()
    ends = [rows * (i + 1) // files for i in range(files)]
    for seed, (start, end) in enumerate(pairwise([0, *ends])):
        write_table(folder / f"part-{seed:04d}.parquet", end - start, seed)
    return folder


def write_table(path: Path, rows: int, seed: int = 0) -> None:
    """``rows`` rows of FACTORS factors per family, Student's t with 4 degrees, and some NaN."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((FACTORS, n), dtype=np.float32) for n in FAMILIES.values()]
    names = [f"{family}::f{i}" for family, size in FAMILIES.items() for i in range(size)]
    rng = np.random.default_rng([seed, 1])
    schema = pa.schema([(name, pa.float32()) for name in names])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, rows, ROWS_PER_GROUP):
            count = min(ROWS_PER_GROUP, rows - start)
            tails = np.sqrt(4.0 / rng.chisquare(4.0, size=(count, 1))).astype(np.float32)
            blocks = [
                tails * (rng.standard_normal((count, FACTORS), dtype=np.float32) @ mixing)
                + 0.3 * rng.standard_normal((count, mixing.shape[1]), dtype=np.float32)
                for mixing in weights
            ]
            table = np.concatenate(blocks, axis=1)
            table[rng.integers(count, size=count // 100), 3] = np.nan
            columns = [pa.array(column) for column in np.ascontiguousarray(table.T)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def commands(
    data: Path, options: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, list[str]]]:
    """What is run, in order: (name, arguments of ``spinlock``)."""
    config = folder / "run.yaml"
    config.write_text(
        f"""
dataset_path: {json.dumps(str(data))}
max_samples: {options.sample}
training:
  num_epochs: {options.epochs}
  batch_size: 4096
  num_threads: 1
  category_assignment: families
  checkpoint_dir: {json.dumps(str(folder / "run"))}
""",
        encoding="utf-8",
    )
    ray = options.engine != "local"
    run, ending = str(folder / "run"), "/" if ray else ".parquet"
    tokens, decoded = f"{folder / 'tokens'}{ending}", f"{folder / 'decoded'}{ending}"
    engine = ["--engine", options.engine]
    every_row = ["--set", "fit_rows=all"]
    yield "analyze --set fit_rows=all", ["analyze", "--config", str(config), *every_row, *engine]
    yield "train-vqvae", ["train-vqvae", "--config", str(config), *engine]
    yield "encode", ["encode", run, str(data), "-o", tokens, *engine]
    if options.diagnose:
        yield "diagnose", ["diagnose", run, str(data), *engine]
    if options.decode:
        shutil.rmtree(data)  # the decoded table takes its place on the disk
        yield "decode", ["decode", run, tokens, "-o", decoded, *engine]


def measured(
    what: str, arguments: Sequence[str], folder: Path, *, whole_tree: bool = False
) -> dict[str, Any]:
    """Runs ``spinlock`` and returns its wall seconds, processor seconds and peak memory.

    Args:
        what: the name of the step.
        arguments: of ``spinlock``.
        folder: to run in.
        whole_tree: memory is that of all processes which it starts, and itself.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "spinlock", *arguments, "--quiet"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    with TreeMemory(process.pid) if whole_tree else nullcontext() as tree:
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"spinlock {' '.join(arguments)} ended with {process.returncode}")
    step: dict[str, Any] = {
        "command": what,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024 if tree is None else tree.peak_bytes,
    }
    if tree is not None:
        step["processes"] = tree.processes
    print(f"{what}: {step['seconds']:.0f} s, {step['peak_bytes'] / 1e6:,.0f} MB", file=sys.stderr)
    return step


def markdown(record: dict[str, Any]) -> str:
    """The record as a sentence and a Markdown table."""
    files = record.get("files", 1)
    # A process does not know the processor time of workers that Ray has started.
    last = "processes" if "processes" in record["steps"][0] else "processor"
    lines = [
        f"{record['rows']:,} rows x {record['columns']} columns, {record['bytes'] / 1e9:.1f} GB"
        f"{f' in {files} files' if files > 1 else ''}; "
        f"trained on a sample of {record['sample']:,} rows for {record['epochs']} epochs.",
        "",
        f"| command | peak memory | wall | {last} |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `spinlock {step['command']}` | {step['peak_bytes'] / 1e9:.2f} GB "
        f"| {step['seconds']:.0f} s | {_last(step)} |"
        for step in record["steps"]
    ]
    return "\n".join(lines)


def _last(step: dict[str, Any]) -> str:
    return str(step.get("processes", f"{step['cpu_seconds']:.0f} s"))


def rendered(page: str) -> str:
    """A page with what is between its markers ``<!-- out-of-core: FILE -->`` made from RESULTS."""

    def table(match: re.Match[str]) -> str:
        record = json.loads((RESULTS / match["file"]).read_text(encoding="utf-8"))
        return f"<!-- out-of-core: {match['file']} -->\n{markdown(record)}\n<!-- end -->"

    pattern = r"<!-- out-of-core: (?P<file>\S+) -->.*?<!-- end -->"
    return re.sub(pattern, table, page, flags=re.DOTALL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the table")
    parser.add_argument("--folder", type=Path, help="where to put it; by default the system's own")
    parser.add_argument("--sample", type=int, default=200_000, help="rows to train on")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--files", type=int, default=1, help="files that the table is cut into")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--diagnose", action="store_true", help="diagnose the model on all rows")
    parser.add_argument("--decode", action="store_true", help="decode the tokens again")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--render", type=Path, metavar="PAGE", help="fill in the tables of a page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
