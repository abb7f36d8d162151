"""Where the published 46,578x imbalance comes from: raw features fed to a model of z-scores.

    python -m bench.imbalance builtin:digits --output bench/results/imbalance-digits.json
    python -m bench.imbalance my_features.npz --config configs/vqvae/uniform.yaml
    python -m bench.compare_page docs/compare.md

The published report motivates adaptive ratios with one category's error of 3,611.91, "46,578x worse
than baseline".  This trains a model, z-scores in and z-scores out, and measures its categories
three times: on z-scored rows, as it was trained; on the same rows in the units of the data, which a
diagnostic gives that forgets to normalise; and, in those units, with no model at all, an answer of
0 for every feature.  The second measurement follows the third, whatever the model: it shows the
units of the columns.  With one family in units a thousand times smaller, the first stays and the
second grows by a million.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.quality_grid import environment
from spinlock.config import TrainConfig, load_config
from spinlock.data import load_table
from spinlock.data.split import split_rows
from spinlock.training.metrics import evaluate
from spinlock.training.pipeline import train
from spinlock.vqvae import CategoricalHierarchicalVQVAE

CONFIG = Path(__file__).parents[1] / "configs" / "vqvae" / "published_baseline.yaml"
# Of a smaller unit there are so many in the larger one.
THOUSAND = 1_000.0

Errors = dict[str, float]


@dataclass(frozen=True)
class Imbalance:
    """Mean squared error per category, measured in three ways.

    Attributes:
        right: z-scored rows in and out.
        wrong: rows in the data's units in, compared with themselves.
        nothing: the rows in the data's units compared with 0, without a model.
        smaller_units: ``right`` and ``wrong`` again, of a model trained on the same data with the
            first family in units a thousand times smaller.
    """

    right: Errors
    wrong: Errors
    nothing: Errors
    smaller_units: tuple[Errors, Errors]


def main(arguments: list[str] | None = None) -> int:
    """Trains, measures and prints; returns the exit code."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    overrides: list[tuple[str, Any]] = [
        ("dataset_path", options.data),
        ("training.num_epochs", options.epochs),
        ("training.category_assignment", "families"),
        ("random_seed", options.seed),
    ]
    found = imbalance(load_config(options.config, overrides))
    record = {"data": options.data, "environment": environment(), **asdict(found)}
    if options.output is not None:
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(markdown(found))
    return 0


def imbalance(config: TrainConfig) -> Imbalance:
    """Measures a configuration's model the right way and the wrong one."""
    right, wrong, nothing = _measured(config, factor=1.0)
    again = _measured(config, factor=THOUSAND)
    return Imbalance(right, wrong, nothing, again[:2])


def markdown(found: Imbalance) -> str:
    """A row per category, worst in raw units first, and the ratio of worst to best below."""
    scaled_right, scaled_wrong = found.smaller_units
    columns = (found.right, found.wrong, found.nothing, scaled_right, scaled_wrong)
    lines = [
        "| category | z-scored, as trained | raw features fed in | raw, answering 0 "
        "| z-scored, units x 1000 | raw fed in, units x 1000 |",
        "|" + "---|" * 6,
    ]
    for name in sorted(found.wrong, key=lambda name: -found.wrong[name]):
        cells = " | ".join(f"{errors[name]:,.4g}" for errors in columns)
        lines.append(f"| {name} | {cells} |")
    ratios = " | ".join(f"{worst_over_best(errors):,.1f}" for errors in columns)
    return "\n".join([*lines, f"| **worst / best** | {ratios} |"])


def worst_over_best(errors: Errors) -> float:
    """The largest error over the smallest."""
    return max(errors.values()) / min(errors.values())


def _measured(config: TrainConfig, factor: float) -> tuple[Errors, Errors, Errors]:
    """Errors the right way, the wrong way and without a model; one category times ``factor``."""
    table = load_table(config.dataset_path, seed=config.random_seed)
    if factor != 1.0:
        features = table.features.copy()
        first = [family == table.families[0] for family in table.families]
        features[:, first] *= factor
        table = type(table)(features, table.names, table.families, table.labels)
    with tempfile.TemporaryDirectory() as folder:
        training = config.training.model_copy(update={"checkpoint_dir": folder})
        result = train(config.model_copy(update={"training": training}), table=table)
    preprocessing = result.prepared.preprocessing
    held_out = split_rows(table.num_rows, config.training.validation_split, config.random_seed)[1]
    cleaned = preprocessing.cleaner.transform(table.features[held_out])
    raw = np.ascontiguousarray(cleaned[:, preprocessing.groups.order], dtype=np.float32)
    model: CategoricalHierarchicalVQVAE = result.model
    right = evaluate(model, torch.from_numpy(result.prepared.validation)).category_mse
    wrong = evaluate(model, torch.from_numpy(raw)).category_mse
    return right, wrong, _mean_squares(raw, model)


def _mean_squares(raw: NDArray[np.float32], model: CategoricalHierarchicalVQVAE) -> Errors:
    """What an answer of 0 costs per category."""
    ends = np.cumsum(model.config.category_sizes)[:-1]
    parts = np.split(np.square(raw.astype(np.float64)).mean(axis=0), ends)
    names = model.config.category_names
    return {name: float(part.mean()) for name, part in zip(names, parts, strict=True)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("data", nargs="?", default="builtin:digits", help="a data set of families")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
