"""Quality of both forms x (uniform, balanced) x both codebook sizings, with equal everything else.

    python -m bench.quality_grid builtin:digits --output bench/results/quality-digits.json
    python -m bench.quality_grid prepared.npz --prepared --seed 0 --threads 1 --output ...
    python -m bench.quality_grid --render docs/results.md

Each row is one training run through the same pipeline as ``spinlock train-vqvae``; the last row
is configs/vqvae/published_baseline.yaml.  Prints the table as Markdown and writes it as JSON with
the versions behind it.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch

import spinlock
from spinlock.config import load_config
from spinlock.training.pipeline import TrainResult, train

CONFIGS = Path(__file__).parents[1] / "configs" / "vqvae"
RESULTS = Path(__file__).parent / "results"
FORMS = ("residual", "independent")
RATIOS: dict[str, Any] = {"uniform": [0.5, 1.0, 1.5], "balanced": "auto"}
SIZINGS = ("latent_dims", "feature_count")


def main(arguments: list[str] | None = None) -> int:
    """Runs the grid; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.render is not None:
        page = options.render.read_text(encoding="utf-8")
        options.render.write_text(rendered(page), encoding="utf-8")
        return 0
    if options.data is None:
        _parser().error("name a data set, or a page with --render")
    torch.set_num_threads(options.threads)
    rows = [_measure(name, config, options) for name, config in _runs(options)]
    print(markdown(rows))
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        record = {"data": options.label or options.data, "environment": environment(), "rows": rows}
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def environment() -> dict[str, Any]:
    """Machine, versions and date behind a table."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "spinlock": spinlock.__version__,
        "threads": torch.get_num_threads(),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table, in the order given."""
    columns = (
        ("form", "{}"), ("ratios", "{}"), ("sizes from", "{}"), ("bits", "{:.1f}"),
        ("worst", "{:.3f}"), ("mean", "{:.3f}"), ("best", "{:.4f}"), ("worst/mean", "{:.2f}"),
        ("worst/best", "{:.1f}"), ("utilization", "{:.2f}"), ("dead", "{}"), ("codes", "{}"),
        ("perplexity", "{:.1f}"), ("seconds", "{:.0f}"),
    )  # fmt: skip
    lines = [
        "| " + " | ".join(name for name, _ in columns) + " |",
        "|" + "---|" * len(columns),
    ]
    lines += [
        "| " + " | ".join(form.format(row[name]) for name, form in columns) + " |" for row in rows
    ]
    return "\n".join(lines)


def rendered(page: str) -> str:
    """A page with the tables between its markers ``<!-- table: FILE -->`` made from RESULTS."""

    def table(match: re.Match[str]) -> str:
        record = json.loads((RESULTS / match["file"]).read_text(encoding="utf-8"))
        return f"<!-- table: {match['file']} -->\n{markdown(record['rows'])}\n<!-- end -->"

    return re.sub(r"<!-- table: (?P<file>\S+) -->.*?<!-- end -->", table, page, flags=re.DOTALL)


def _runs(options: argparse.Namespace) -> Iterator[tuple[tuple[str, str, str], list[Any]]]:
    """(form, ratios, sizing) and the overrides of each run."""
    common: list[tuple[str, Any]] = [
        ("dataset_path", options.data),
        ("random_seed", options.seed),
        ("training.num_epochs", options.epochs),
        ("training.batch_size", options.batch_size),
    ]
    if options.prepared:
        common += [
            ("feature_cleaning.enabled", False),
            ("training.category_assignment", "families"),
        ]
    for form, ratios, sizing in product(FORMS, RATIOS, SIZINGS):
        overrides = [
            ("model.hierarchy", form),
            ("model.compression_ratios", RATIOS[ratios]),
            ("model.codebook_sizing", sizing),
        ]
        yield (form, ratios, sizing), ["uniform.yaml", common + overrides]
    own = ("training.num_epochs", "training.batch_size")  # the baseline keeps its published ones
    kept = [pair for pair in common if pair[0] not in own]
    yield ("published baseline", "uniform", "feature_count"), ["published_baseline.yaml", kept]


def _measure(
    name: tuple[str, str, str], config: list[Any], options: argparse.Namespace
) -> dict[str, Any]:
    file, overrides = config
    with tempfile.TemporaryDirectory() as folder:
        path = [("training.checkpoint_dir", folder)]
        result = train(load_config(CONFIGS / file, overrides + path))
    row = dict(zip(("form", "ratios", "sizes from"), name, strict=True)) | _figures(result)
    print(f"{options.data} {' '.join(name)}: worst {row['worst']:.3f}", file=sys.stderr)
    return row


def _figures(result: TrainResult) -> dict[str, Any]:
    metrics = result.metrics
    assert metrics is not None, "a finished run has been measured"
    return {
        "bits": metrics.bits,
        "worst": metrics.worst_mse,
        "mean": metrics.mean_mse,
        "best": metrics.best_mse,
        "worst/mean": metrics.worst_over_mean,
        "worst/best": metrics.worst_over_best,
        "utilization": metrics.utilization,
        "dead": metrics.dead_codes,
        "codes": result.prepared.plan.total_codes,
        "perplexity": sum(metrics.perplexity) / len(metrics.perplexity),
        "seconds": result.seconds,
        "categories": len(result.prepared.plan.categories),
        "features": result.prepared.num_features,
        "epochs": len(result.history),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", help="a data set: builtin:digits or a file")
    parser.add_argument("--render", type=Path, metavar="PAGE", help="fill in the tables of a page")
    parser.add_argument("--prepared", action="store_true", help="no cleaning, families stay")
    parser.add_argument("--label", help="name of the data set in the record")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
