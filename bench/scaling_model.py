"""What passes and training would take on a cluster, from the constants of a scaling record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from spinlock.data.parts import part_rows
from spinlock.vqvae import CategoricalVQVAEConfig, build_vqvae

# What the reader's cluster has; docs/scaling.md says so.
NETWORK_BYTES_PER_SECOND = 1.25e9
LATENCY_SECONDS = 50e-6
_FLOAT, _SAMPLE_ROWS = 4, 100_000


@dataclass(frozen=True)
class Scenario:
    """A data set and the cluster that works on it.

    Attributes:
        rows, features: of the data set.
        categories: of three levels each.
        workers: processors, each of them one process.
        batch_size: rows of a training step, all processes together.
    """

    rows: int
    features: int
    categories: int
    workers: int
    batch_size: int


SCENARIOS = (
    Scenario(10**8, 118, 7, 16, 8_192),
    Scenario(10**9, 1_000, 70, 64, 32_768),
    Scenario(10**10, 10_000, 334, 1_024, 262_144),
)


@dataclass(frozen=True)
class PassCost:
    """One pass of one scenario.

    Attributes:
        processor_hours: of all workers together.
        wall_hours: on the scenario's workers at the efficiency measured on two.
        result_bytes: of a part's results in all passes over the data.
        network_bytes: of all parts' results, which one process takes in.
        merge_hours: of taking them in, at the network's rate.
    """

    processor_hours: float
    wall_hours: float
    result_bytes: float
    network_bytes: float
    merge_hours: float


@dataclass(frozen=True)
class TrainingCost:
    """One training step of one scenario.

    Attributes:
        parameters: that gradients are sent of.
        statistics: numbers of the codebooks' moving averages.
        bytes_per_step: what each process gives to the sum.
        compute_seconds: of a step on its share of the batch.
        network_seconds: of the sum over all processes, as a ring.
    """

    parameters: int
    statistics: int
    bytes_per_step: int
    compute_seconds: float
    network_seconds: float


def pass_cost(record: dict[str, Any], name: str, scenario: Scenario) -> PassCost:
    """A pass, from its seconds and bytes at the widths that were measured."""
    per_value = polynomial(record, name, "seconds", degree=1)
    result = polynomial(record, name, "result_bytes", degree=2)
    width = float(scenario.features)
    seconds = scenario.rows * width * evaluate(per_value, width)
    found = next(p for p in record["speed_up"]["passes"] if p["pass"] == name)
    parts = -(-scenario.rows // part_rows(scenario.rows))
    one = evaluate(result, width)
    return PassCost(
        processor_hours=seconds / 3600,
        wall_hours=seconds / 3600 / scenario.workers / min(1.0, found["efficiency"]),
        result_bytes=one,
        network_bytes=one * parts,
        merge_hours=one * parts / NETWORK_BYTES_PER_SECOND / 3600,
    )


def training_cost(record: dict[str, Any], scenario: Scenario) -> TrainingCost:
    """A step of a model that is built for its size."""
    largest = max(record["training"], key=lambda run: run["batch_size"])
    constant = largest["step_seconds"]["1"] / (largest["batch_size"] * largest["parameters"])
    parameters, statistics = model_size(scenario.features, scenario.categories)
    sent = _FLOAT * (parameters + statistics)
    workers = scenario.workers
    ring = 2 * (workers - 1) / workers * sent / NETWORK_BYTES_PER_SECOND
    return TrainingCost(
        parameters=parameters,
        statistics=statistics,
        bytes_per_step=sent,
        compute_seconds=constant * parameters * scenario.batch_size / workers,
        network_seconds=ring + 2 * (workers - 1) * LATENCY_SECONDS,
    )


def model_size(features: int, categories: int) -> tuple[int, int]:
    """Trained numbers, and those of the moving averages, of a model with the default widths.

    >>> parameters, statistics = model_size(features=118, categories=7)
    >>> statistics < parameters
    True
    """
    sizes = [len(part) for part in np.array_split(np.arange(features), categories)]
    config = CategoricalVQVAEConfig(
        category_names=tuple(f"c{i}" for i in range(categories)),
        category_sizes=tuple(sizes),
        compression_ratios=[0.5, 1.0, 1.5],
    )
    model = build_vqvae(config)
    layout = model.quantizer.layout
    numbers = sum(k * (d + 1) for k, d in zip(layout.codebook_sizes, layout.dims, strict=True))
    return sum(p.numel() for p in model.parameters() if p.requires_grad), numbers


def sample_bytes(scenario: Scenario) -> int:
    """The uniform sample of rows behind medians, percentiles and categories, in one process."""
    return _FLOAT * min(scenario.rows, _SAMPLE_ROWS) * scenario.features


def polynomial(record: dict[str, Any], name: str, key: str, degree: int) -> list[float]:
    """Coefficients in the number of columns, none below 0; seconds are those per value.

    Args:
        record: of ``python -m bench.scaling``.
        name: of the pass.
        key: what was measured.
        degree: of the polynomial.
    """
    runs = [run for run in record["widths"] if run["pass"] == name]
    columns = np.array([run["columns"] for run in runs], dtype=float)
    values = np.array([run[key] for run in runs], dtype=float)
    if key == "seconds":
        values /= np.array([run["rows"] for run in runs], dtype=float) * columns
    # Relative errors, so that wide and narrow sets count the same.
    terms = np.stack([columns**power for power in range(degree + 1)], axis=1) / values[:, None]
    solution, _ = nnls(terms, np.ones(len(values)))
    return [float(term) for term in solution]


def evaluate(terms: list[float], x: float) -> float:
    """A polynomial at ``x``; the constant comes first."""
    return float(sum(term * x**power for power, term in enumerate(terms)))
