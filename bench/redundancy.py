"""What winning back the redundancy between categories brings, step by step, at equal bits.

    python -m bench.redundancy builtin:digits --output bench/results/redundancy-digits.json
    python -m bench.redundancy prepared.npz --prepared --bits 76 --label bankruptcy --output ...
    python -m bench.redundancy --render docs/results.md

Runs per seed, of the same splits, categories and bits: the default codebook sizes of uniform
ratios, brought to those bits; configs/vqvae/rate_distortion.yaml; configs/vqvae/joint.yaml; that
with refit rounds; and that with encoders that see all features.  All are measured on held-out rows
with the tokens of the encoder alone, with sweeps and with restarts, and with the error of each
category's own tokens beside.  Two rows have no network: residual k-means per category with the
codebook sizes of rate_distortion.yaml, and a residual quantizer of all features, encoded with a
beam of 16.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from bench.quality_grid import CONFIGS, RESULTS, environment
from spinlock.comparison.budget import at_budget
from spinlock.comparison.measuring import Fitted
from spinlock.comparison.measuring import measured as measured_peer
from spinlock.comparison.peers.joint_rq import fit_joint_rq, load_faiss
from spinlock.comparison.peers.pca_kmeans import fit_pca_kmeans
from spinlock.comparison.plans import planned_config
from spinlock.config import TrainConfig, load_config
from spinlock.training.metrics import EvaluationMetrics
from spinlock.training.pipeline import train
from spinlock.training.prepare import prepare
from spinlock.training.prepared import Prepared
from spinlock.vqvae import CategoricalHierarchicalVQVAE

# Sweeps and restarts at encode time, as the tables name them.
_SEARCHES = {"0": (0, 0), "2": (2, 0), "2, 8 restarts": (2, 8)}
REFIT: list[tuple[str, Any]] = [
    ("training.refit.rounds", 8),
    ("training.refit.epochs", 8),
    ("training.refit.learning_rate", 2e-3),
]
SEE_ALL: list[tuple[str, Any]] = [("model.encoder_inputs", "all")]
UNIFORM = "uniform ratios"
RUNS: dict[str, tuple[str, list[tuple[str, Any]]]] = {
    UNIFORM: ("uniform.yaml", [("model.codebook_sizing", "feature_count")]),
    "rate_distortion": ("rate_distortion.yaml", []),
    "joint": ("joint.yaml", []),
    "joint, refit rounds": ("joint.yaml", REFIT),
    "joint, refit rounds, encoders see all": ("joint.yaml", REFIT + SEE_ALL),
}
PER_CATEGORY = "no network: k-means per category"
ALL_AT_ONCE = "no network: all features, beam 16"


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
    for seed in options.seeds:
        for name, found in _measured(seed, options):
            rows.append({"run": name, "seed": seed, **found})
            print(rows[-1], file=sys.stderr)
    record = {"data": options.label or options.data, "environment": environment(), "rows": rows}
    print(markdown(record))
    if options.output is not None:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _measured(seed: int, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """All rows of a seed: those without a network, then the runs."""
    planned = prepare(_config("rate_distortion", seed, options))
    started = time.perf_counter()
    fitted = fit_pca_kmeans(planned.train, planned.validation, planned.plan, seed)
    yield PER_CATEGORY, _peer_row(fitted, planned, time.perf_counter() - started)
    faiss = load_faiss()
    if faiss is None:
        raise SystemExit("the row of all features at once needs faiss: pip install faiss-cpu")
    started, bits = time.perf_counter(), planned.plan.bits
    fitted = fit_joint_rq(faiss, planned.train, planned.validation, bits, seed)
    yield ALL_AT_ONCE, _peer_row(fitted, planned, time.perf_counter() - started)
    for name in RUNS:
        config = _config(name, seed, options)
        if name == UNIFORM:
            config = planned_config(config, at_budget(prepare(config).plan, bits).plan)
        yield name, _run_row(config)


def _config(name: str, seed: int, options: argparse.Namespace) -> TrainConfig:
    file, changes = RUNS[name]
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
    return load_config(CONFIGS / file, [*common, *changes])


def _run_row(config: TrainConfig) -> dict[str, Any]:
    """One run: errors of held-out rows per number of sweeps, own errors, bits and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        training = config.training.model_copy(update={"checkpoint_dir": folder})
        started = time.perf_counter()
        result = train(config.model_copy(update={"training": training}))
        seconds = time.perf_counter() - started
    assert result.metrics is not None, "a finished run has been measured"
    x = torch.as_tensor(result.prepared.validation)
    found = {name: _errors(result.model, x, *search) for name, search in _SEARCHES.items()}
    return _row(result.metrics, found, seconds)


def _peer_row(fitted: Fitted, prepared: Prepared, seconds: float) -> dict[str, Any]:
    categories = [(c.name, c.num_features) for c in prepared.plan.categories]
    metrics = measured_peer(fitted, prepared.validation, categories)
    errors = {"mean": metrics.mean_mse, "worst": metrics.worst_mse, "own": None}
    return _row(metrics, {"0": errors}, seconds)


def _row(metrics: EvaluationMetrics, sweeps: dict[str, Any], seconds: float) -> dict[str, Any]:
    return {
        "bits": metrics.bits,
        "seconds": seconds,
        "utilization": metrics.utilization,
        "dead_share": metrics.dead_share,
        "sweeps": sweeps,
    }


@torch.no_grad()
def _errors(
    model: CategoricalHierarchicalVQVAE, x: Tensor, sweeps: int, restarts: int
) -> dict[str, float]:
    tokens = model.get_tokens(x, sweeps=sweeps, restarts=restarts)
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
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in record["rows"]:
        runs.setdefault(row["run"], []).append(row)
    bits = fmean(row["bits"] for row in record["rows"])
    lines = [
        f"{record['data']}, {bits:.0f} bits:",
        "",
        "| run | sweeps | mean | worst | worst/mean | own tokens alone | utilization | dead "
        "| seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in runs.items():
        figures = (
            f"{fmean(row['utilization'] for row in rows):.2f} "
            f"| {fmean(row['dead_share'] for row in rows):.1%} "
            f"| {fmean(row['seconds'] for row in rows):.0f}"
        )
        for sweeps in rows[0]["sweeps"]:
            found = [row["sweeps"][sweeps] for row in rows]
            mean, worst = ([errors[key] for errors in found] for key in ("mean", "worst"))
            ratio = fmean(errors["worst"] / errors["mean"] for errors in found)
            own = [errors["own"] for errors in found]
            lines.append(
                f"| {name} | {sweeps} | {_spread(mean)} | {_spread(worst)} | {ratio:.2f} "
                f"| {'-' if None in own else format(fmean(own), '.4f')} | {figures} |"
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
