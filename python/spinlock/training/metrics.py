"""How good a model is on a set of rows: error per category, and what its codebooks are used for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinlock.errors import InputError
from spinlock.vqvae import CategoricalHierarchicalVQVAE

_BLOCK_ROWS = 8_192


@dataclass(frozen=True)
class EvaluationMetrics:
    """Errors are squared and in z-units: 1.0 is what predicting every feature's mean would cost.

    Attributes:
        category_mse: per category the mean over its features and the rows, in category order.
        mean_mse: mean over categories.
        feature_mse: mean over all features, so that a category counts by its width.
        worst_mse: of the category with the largest error, ``worst_category``.
        best_mse: of the category with the smallest error, ``best_category``.
        perplexity: per quantizer exp(entropy) of its code usage over the rows, category-major.
        utilization_per_quantizer: codes used at least once over the rows / K, category-major.
        bits: sum over quantizers of log2 K, per row.
        rows: number of rows measured.
        dead_codes: codes that the last full training epoch never used; None before one.
        dead_share: ``dead_codes`` / all codes.

    >>> metrics = EvaluationMetrics(
    ...     category_mse={"shape": 0.2, "colour": 0.1}, feature_mse=0.18,
    ...     utilization_per_quantizer=(1.0, 0.5), perplexity=(3.9, 2.1), bits=4.0, rows=100)
    >>> metrics.worst_category, round(metrics.worst_over_mean, 3), metrics.worst_over_best
    ('shape', 1.333, 2.0)
    """

    category_mse: dict[str, float]
    feature_mse: float
    utilization_per_quantizer: tuple[float, ...]
    perplexity: tuple[float, ...]
    bits: float
    rows: int
    dead_codes: int | None = None
    dead_share: float | None = None

    @property
    def worst_category(self) -> str:
        """Name of the category with the largest error; the first of equals."""
        return max(self.category_mse, key=self.category_mse.__getitem__)

    @property
    def best_category(self) -> str:
        """Name of the category with the smallest error; the first of equals."""
        return min(self.category_mse, key=self.category_mse.__getitem__)

    @property
    def worst_mse(self) -> float:
        """Largest error of a category."""
        return self.category_mse[self.worst_category]

    @property
    def best_mse(self) -> float:
        """Smallest error of a category."""
        return self.category_mse[self.best_category]

    @property
    def mean_mse(self) -> float:
        """Mean of the categories' errors."""
        return math.fsum(self.category_mse.values()) / len(self.category_mse)

    @property
    def worst_over_mean(self) -> float:
        """``worst_mse / mean_mse``; 1 where both are 0."""
        return _ratio(self.worst_mse, self.mean_mse)

    @property
    def worst_over_best(self) -> float:
        """``worst_mse / best_mse``; infinite where only the best is 0."""
        return _ratio(self.worst_mse, self.best_mse)

    @property
    def utilization(self) -> float:
        """Mean over quantizers of the codes used at least once / K."""
        return math.fsum(self.utilization_per_quantizer) / len(self.utilization_per_quantizer)

    @property
    def mean_perplexity(self) -> float:
        """Mean over quantizers."""
        return math.fsum(self.perplexity) / len(self.perplexity)

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON, derived figures included; an infinite ratio becomes None."""
        return {
            "mean_mse": self.mean_mse,
            "worst_mse": self.worst_mse,
            "worst_category": self.worst_category,
            "best_mse": self.best_mse,
            "best_category": self.best_category,
            "worst_over_mean": self.worst_over_mean,
            "worst_over_best": _finite_or_none(self.worst_over_best),
            "feature_mse": self.feature_mse,
            "utilization": self.utilization,
            "mean_perplexity": self.mean_perplexity,
            "dead_codes": self.dead_codes,
            "dead_share": self.dead_share,
            "bits": self.bits,
            "rows": self.rows,
            "category_mse": dict(self.category_mse),
            "utilization_per_quantizer": list(self.utilization_per_quantizer),
            "perplexity": list(self.perplexity),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> EvaluationMetrics:
        """The metrics that :meth:`to_dict` wrote; derived figures are computed anew."""
        return cls(
            category_mse={str(k): float(v) for k, v in plain["category_mse"].items()},
            feature_mse=float(plain["feature_mse"]),
            utilization_per_quantizer=tuple(map(float, plain["utilization_per_quantizer"])),
            perplexity=tuple(map(float, plain["perplexity"])),
            bits=float(plain["bits"]),
            rows=int(plain["rows"]),
            dead_codes=None if plain["dead_codes"] is None else int(plain["dead_codes"]),
            dead_share=None if plain["dead_share"] is None else float(plain["dead_share"]),
        )


@torch.no_grad()
def evaluate(
    model: CategoricalHierarchicalVQVAE,
    x: Tensor,
    *,
    dead_codes: int | None = None,
    block_rows: int = _BLOCK_ROWS,
    add_up: Callable[[Tensor], Tensor] | None = None,
) -> EvaluationMetrics:
    """Reconstructs normalised features ``x [B, N]`` from their codes and measures what is lost.

    The model is used in evaluation mode, each of its modules left in the mode that it came in;
    nothing is written.

    Args:
        model: the model to measure.
        x: ``[B, N]`` float32, z-scored, columns grouped by category; B >= 1.
        dead_codes: codes unused over the last full training epoch, to be reported beside.
        block_rows: rows per forward pass.
        add_up: sums over the processes that have parts of the rows; of a part without any rows too.

    Raises:
        InputError: no rows.
    """
    if len(x) == 0 and add_up is None:
        raise InputError("evaluate needs at least 1 row, got x with shape [0, ...]")
    sizes = [size for levels in model.config.codebook_sizes for size in levels]
    total_codes = sum(sizes)
    ends = torch.tensor(sizes).cumsum(0)
    first_codes = (ends - torch.tensor(sizes)).to(x.device)
    squared = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    counts = torch.zeros(total_codes, dtype=torch.int64, device=x.device)
    # One by one: a part that is frozen in evaluation mode stays so within a model in training.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for start in range(0, len(x), block_rows):
            block = x[start : start + block_rows]
            output = model.quantize(model.encode(block))
            squared += (model.decode(output.quantized) - block).double().square().sum(0)
            codes = (output.indices + first_codes).flatten()
            counts += torch.bincount(codes, minlength=total_codes)
    finally:
        for module, training in modes:
            module.training = training
    num_rows = len(x)
    if add_up is not None:
        # float64 counts are exact up to 2^53.
        rows = squared.new_tensor([num_rows])
        packed = add_up(torch.cat([squared, counts.double(), rows]))
        squared, counts = packed[: len(squared)], packed[len(squared) : -1].to(torch.int64)
        num_rows = int(packed[-1])
    per_feature = (squared / num_rows).cpu().numpy()
    per_category = np.split(per_feature, np.cumsum(model.config.category_sizes)[:-1])
    by_quantizer = np.split(counts.cpu().numpy(), ends[:-1].numpy())
    names = model.config.category_names
    return EvaluationMetrics(
        category_mse={n: float(e.mean()) for n, e in zip(names, per_category, strict=True)},
        feature_mse=float(per_feature.mean()),
        utilization_per_quantizer=tuple(utilization(c) for c in by_quantizer),
        perplexity=tuple(perplexity(c) for c in by_quantizer),
        bits=math.fsum(map(math.log2, sizes)),
        rows=num_rows,
        dead_codes=dead_codes,
        dead_share=None if dead_codes is None else dead_codes / total_codes,
    )


def utilization(counts: NDArray[np.int64]) -> float:
    """Share of one quantizer's codes that were used, from its usage counts ``[K]``."""
    return float((counts > 0).mean())


def perplexity(counts: NDArray[np.int64]) -> float:
    """exp(entropy) of the usage of one quantizer's codes, from its counts ``[K]``, not all 0."""
    share = counts[counts > 0] / counts.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _ratio(numerator: float, denominator: float) -> float:
    if denominator == 0.0:
        return 1.0 if numerator == 0.0 else math.inf
    return numerator / denominator


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
