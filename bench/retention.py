"""What tokens keep: reconstruction error and downstream accuracy against bits per row.

    python -m bench.retention builtin:digits --output bench/results/retention-digits.json
    python -m bench.retention mfeat.npz --label "multiple features (UCI 72)" --output ...
    python -m bench.retention --render docs/bits.md docs/downstream.md
    python -m bench.retention --plot docs/images/bits.png

Every row is a tokenizer trained on the training rows of one split, without labels; then the same
classifiers are fitted on the training rows as they are (cleaned, z-scored), as decoded from their
tokens, and as one-hot tokens, and measured on the held-out rows.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import warnings
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import OneHotEncoder

from bench.quality_grid import CONFIGS, RESULTS, environment
from spinlock.analysis.rate_distortion import gaussian_distortion
from spinlock.comparison.downstream import CLASSIFIERS, score
from spinlock.config import TrainConfig, load_config
from spinlock.data import load_table
from spinlock.data.split import split_rows
from spinlock.training.pipeline import TrainResult, train
from spinlock.training.prepare import prepare

Matrix = NDArray[Any]
SIZES = (4, 8, 16, 32, 64, 128)


def main(arguments: list[str] | None = None) -> int:
    """Runs the budgets of one data set, or renders what is recorded; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.plot is not None:
        plot(records(), options.plot)
        return 0
    if options.render:
        for page in options.render:
            page.write_text(rendered(page.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    if options.data is None:
        _parser().error("name a data set, or pages with --render")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = []
    for seed in options.seeds:
        config = load_config(
            CONFIGS / "adaptive_compression_example.yaml", _overrides(options, seed)
        )
        rows.append(measured(config, "default"))
        if seed == options.seeds[0]:
            names = [category.name for category in prepare(config).plan.categories]
            sized = ((size, with_codes(config, names, size)) for size in options.sizes)
            rows += [measured(budget, f"{size} codes") for size, budget in sized]
    record = {"data": options.label or options.data, "environment": environment(), "rows": rows}
    if options.output is not None:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(curve_table(record), retention_table([record]), sep="\n\n")
    return 0


def with_codes(config: TrainConfig, categories: list[str], size: int) -> TrainConfig:
    """The configuration with ``size`` codes in every codebook of its three levels."""
    levels = {name: [{"num_tokens": size}] * 3 for name in categories}
    model = config.model.model_dump() | {"levels": levels}
    return TrainConfig.model_validate(config.model_dump() | {"model": model})


def measured(config: TrainConfig, budget: str) -> dict[str, Any]:
    """Trains one tokenizer and measures what its tokens keep."""
    with tempfile.TemporaryDirectory() as folder:
        training = config.training.model_copy(update={"checkpoint_dir": folder})
        result = train(config.model_copy(update={"training": training}))
    metrics, prepared = result.metrics, result.prepared
    assert metrics is not None, "a finished run has been measured"
    covariance = np.cov(prepared.train.T.astype(np.float64), bias=True)
    row = {
        "budget": budget,
        "seed": config.random_seed,
        "bits": metrics.bits,
        "mean": metrics.mean_mse,
        "worst": metrics.worst_mse,
        "feature": metrics.feature_mse,
        "gaussian": gaussian_distortion(np.linalg.eigvalsh(covariance), metrics.bits),
        "utilization": metrics.utilization,
        "features": prepared.num_features,
        "categories": len(prepared.plan.categories),
        "tokens": len(metrics.perplexity),
        "epochs": len(result.history),
        "accuracy": downstream(config, result),
    }
    print(f"{budget}, seed {config.random_seed}: {metrics.bits:.0f} bits", file=sys.stderr)
    return row


def downstream(config: TrainConfig, result: TrainResult) -> dict[str, dict[str, float]]:
    """Held-out accuracy per classifier on raw, decoded and token features; AUC of two classes."""
    table = load_table(config.dataset_path, seed=config.random_seed)
    rows = split_rows(table.num_rows, config.training.validation_split, config.random_seed)
    assert table.labels is not None, "accuracy needs labels"
    labels = [table.labels[part] for part in rows]
    x = [result.prepared.train, result.prepared.validation]
    tokens = [result.model.get_tokens(torch.from_numpy(part)) for part in x]
    decoded = [result.model.decode_from_tokens(part).numpy() for part in tokens]
    encoder = OneHotEncoder(handle_unknown="ignore").fit(tokens[0].numpy())
    views: dict[str, list[Any]] = {
        "raw": x,
        "decoded": decoded,
        "tokens": [encoder.transform(part.numpy()) for part in tokens],
    }
    scores: dict[str, dict[str, float]] = {}
    for name, make in CLASSIFIERS.items():
        scores[name] = {}
        for view, (training, held_out) in views.items():
            fitted = make().fit(training, labels[0])
            scores[name][view] = score(fitted, held_out, labels[1])
            if view == "raw":
                scores[name]["raw, then decoded"] = score(fitted, decoded[1], labels[1])
    return scores


def records() -> list[dict[str, Any]]:
    """The recorded data sets, in the order of their names."""
    paths = sorted(RESULTS.glob("retention-*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def curve_table(record: dict[str, Any]) -> str:
    """Error and retention against bits, of the first seed."""
    first = record["rows"][0]["seed"]
    rows = sorted((r for r in record["rows"] if r["seed"] == first), key=lambda r: r["bits"])
    lines = [
        "| codes | bits per row | bits per feature | mean MSE | worst MSE | all features "
        "| Gaussian D(R) | utilization | retention |",
        "|" + "---|" * 9,
    ]
    lines += [
        f"| {row['budget']} | {row['bits']:.0f} | {row['bits'] / row['features']:.2f} "
        f"| {row['mean']:.3f} | {row['worst']:.3f} | {row['feature']:.3f} "
        f"| {row['gaussian']:.3f} | {row['utilization']:.2f} | {retention(row):.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def retention(row: dict[str, Any], view: str = "decoded") -> float:
    """The best classifier's score on ``view`` over the best one's on raw features."""
    best = [max(scores[v] for scores in row["accuracy"].values()) for v in (view, "raw")]
    return float(best[0] / best[1])


def retention_table(found: list[dict[str, Any]]) -> str:
    """Scores of the default budget, mean over the seeds, per data set and classifier."""
    lines = [
        "| data | bits | smaller than float32 by | classifier | raw | decoded | raw, then decoded "
        "| tokens | retention |",
        "|" + "---|" * 9,
    ]
    for record in found:
        rows = [row for row in record["rows"] if row["budget"] == "default"]
        bits = fmean(row["bits"] for row in rows)
        factor = 32 * rows[0]["features"] / bits
        for name in CLASSIFIERS:
            scores = [row["accuracy"][name] for row in rows]
            views = {view: [score[view] for score in scores] for view in scores[0]}
            kept = [score["decoded"] / score["raw"] for score in scores]
            cells = [_spread(views[v]) for v in ("raw", "decoded", "raw, then decoded", "tokens")]
            lines.append(
                f"| {record['data']} | {bits:.0f} | {factor:.0f} x | {name} "
                f"| {' | '.join(cells)} | {_spread(kept)} |"
            )
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    half = (max(values) - min(values)) / 2
    return f"{fmean(values):.3f} ± {half:.3f}"


def rendered(page: str) -> str:
    """A page with what is between its markers made from the recorded results."""
    found = {record["data"]: record for record in records()}

    def curve(match: re.Match[str]) -> str:
        return f"{match[1]}\n{curve_table(found[match['data']])}\n<!-- end -->"

    page = re.sub(r"(<!-- bits: (?P<data>.+?) -->).*?<!-- end -->", curve, page, flags=re.DOTALL)
    return re.sub(
        r"(<!-- retention -->).*?<!-- end -->",
        lambda match: f"{match[1]}\n{retention_table(list(found.values()))}\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


def plot(found: list[dict[str, Any]], path: Path) -> None:
    """Error and retention against bits per feature, one line per data set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for record, colour in zip(found, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=False):
        first = record["rows"][0]["seed"]
        rows = sorted((r for r in record["rows"] if r["seed"] == first), key=lambda r: r["bits"])
        bits = [row["bits"] / row["features"] for row in rows]
        left.plot(bits, [row["feature"] for row in rows], "o-", color=colour, label=record["data"])
        left.plot(bits, [row["gaussian"] for row in rows], ":", color=colour)
        right.plot(bits, [retention(row) for row in rows], "o-", color=colour)
    left.set(xlabel="bits per feature", ylabel="held-out MSE (z-units)", yscale="log")
    right.set(xlabel="bits per feature", ylabel="score on decoded / on raw features")
    right.axhline(1.0, color="0.6", linewidth=0.8)
    left.plot([], [], ":", color="0.4", label="Gaussian D(R), all features together")
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=110)


def _overrides(options: argparse.Namespace, seed: int) -> list[tuple[str, Any]]:
    return [
        ("dataset_path", options.data),
        ("random_seed", seed),
        ("max_samples", options.max_samples),
        ("training.num_epochs", options.epochs),
        ("training.max_clusters", 25),
        ("training.num_threads", 1),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", help="a data set with labels")
    parser.add_argument("--label", help="name of the data set in the record")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--max-samples", type=int)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--render", type=Path, nargs="+", metavar="PAGE")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
