"""What winning back the redundancy between categories brings, step by step, at equal bits.

    python -m bench.redundancy builtin:digits --output bench/results/redundancy-digits.json
    python -m bench.redundancy prepared.npz --prepared --bits 76 --label bankruptcy --output ...
    python -m bench.redundancy --render docs/results.md

Four runs per seed, of the same splits, categories and bits: configs/vqvae/rate_distortion.yaml;
configs/vqvae/joint.yaml; that with refit rounds; and that with encoders that see all features.  All
are measured on held-out rows with the tokens of the encoder alone and with sweeps, with the error
of each category's own tokens beside.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from bench.quality_grid import CONFIGS, RESULTS, environment
from spinlock.config import load_config
from spinlock.training.pipeline import train
from spinlock.vqvae import CategoricalHierarchicalVQVAE

_SWEEPS = (0, 2)
REFIT: list[tuple[str, Any]] = [
    ("training.refit.rounds", 8),
    ("training.refit.epochs", 8),
    ("training.refit.learning_rate", 2e-3),
]
SEE_ALL: list[tuple[str, Any]] = [("model.encoder_inputs", "all")]
RUNS: dict[str, tuple[str, list[tuple[str, Any]]]] = {
    "rate_distortion": ("rate_distortion.yaml", []),
    "joint": ("joint.yaml", []),
    "joint, refit rounds": ("joint.yaml", REFIT),
    "joint, refit rounds, encoders see all": ("joint.yaml", REFIT + SEE_ALL),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs and records, or fills in the tables of a page; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.render is not None:
        page = options.render.read_text(encoding="utf-8")
        options.render.write_text(rendered(page), encoding="utf-8")
        return 0
    if options.data is None:
        _parser().error("name a data set, or a page with --render")
    torch.set_num_threads(options.threads)
    rows = []
    for name, (file, changes) in RUNS.items():
        for seed in options.seeds:
            rows.append({"run": name, "seed": seed, **measured(file, changes, seed, options)})
            print(rows[-1], file=sys.stderr)
    record = {"data": options.label or options.data, "environment": environment(), "rows": rows}
    print(markdown(record))
    if options.output is not None:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def measured(
    file: str, changes: list[tuple[str, Any]], seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """One run: errors of held-out rows per number of sweeps, own errors, bits and seconds."""
    common: list[tuple[str, Any]] = [
        ("dataset_path", options.data),
        ("random_seed", seed),
        ("training.batch_size", options.batch_size),
        ("training.num_epochs", options.epochs),
        ("model.rate_distortion.bits", options.bits),
    ]
    if options.prepared:
        common += [
            ("feature_cleaning.enabled", False),
            ("training.category_assignment", "families"),
        ]
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*common, *changes, ("training.checkpoint_dir", folder)]
        started = time.perf_counter()
        result = train(load_config(CONFIGS / file, overrides))
        seconds = time.perf_counter() - started
    assert result.metrics is not None, "a finished run has been measured"
    x = torch.as_tensor(result.prepared.validation)
    return {
        "bits": result.metrics.bits,
        "seconds": seconds,
        "sweeps": {str(sweeps): _errors(result.model, x, sweeps) for sweeps in _SWEEPS},
    }


@torch.no_grad()
def _errors(model: CategoricalHierarchicalVQVAE, x: Tensor, sweeps: int) -> dict[str, float]:
    tokens = model.get_tokens(x, sweeps=sweeps)
    squared = (model.decode_from_tokens(tokens) - x).double().square().mean(0)
    parts = torch.split(squared, list(model.config.category_sizes))
    errors = torch.stack([part.mean() for part in parts])
    return {
        "mean": float(errors.mean()),
        "worst": float(errors.max()),
        "own": float(model.own_errors(x, tokens).mean()),
    }


def markdown(record: dict[str, Any]) -> str:
    """The record as a Markdown table: means over seeds, single seeds in brackets."""
    runs = {name: [r for r in record["rows"] if r["run"] == name] for name in RUNS}
    bits = fmean(row["bits"] for row in record["rows"])
    lines = [
        f"{record['data']}, {bits:.0f} bits:",
        "",
        "| run | sweeps | mean | worst | worst/mean | own tokens alone | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in runs.items():
        for sweeps in map(str, _SWEEPS):
            found = [row["sweeps"][sweeps] for row in rows]
            each = {key: [errors[key] for errors in found] for key in ("mean", "worst", "own")}
            ratio = fmean(errors["worst"] / errors["mean"] for errors in found)
            lines.append(
                f"| {name} | {sweeps} | {_spread(each['mean'])} | {_spread(each['worst'])} "
                f"| {ratio:.2f} | {fmean(each['own']):.4f} "
                f"| {fmean(row['seconds'] for row in rows):.0f} |"
            )
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{fmean(values):.4f} ({' '.join(f'{value:.4f}' for value in values)})"


def rendered(page: str) -> str:
    """A page with what is between its markers ``<!-- redundancy: FILE -->`` made anew."""

    def table(match: re.Match[str]) -> str:
        record = json.loads((RESULTS / match["file"]).read_text(encoding="utf-8"))
        return f"<!-- redundancy: {match['file']} -->\n{markdown(record)}\n<!-- end -->"

    pattern = r"<!-- redundancy: (?P<file>\S+) -->.*?<!-- end -->"
    return re.sub(pattern, table, page, flags=re.DOTALL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", help="a data set: builtin:digits or a file")
    parser.add_argument("--render", type=Path, metavar="PAGE", help="fill in the tables of a page")
    parser.add_argument("--prepared", action="store_true", help="no cleaning, families stay")
    parser.add_argument("--label", help="name of the data set in the record")
    parser.add_argument("--bits", type=float, help="per row; by default those of uniform ratios")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
