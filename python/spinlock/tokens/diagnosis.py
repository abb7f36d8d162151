"""``Diagnosis``: what a trained model loses, where, and what its codes are used for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from spinlock.tokens.diagnosis_collisions import Collisions
from spinlock.tokens.diagnosis_figures import (
    CategoryFigures,
    FeatureFigures,
    ImageRows,
    QuantizerFigures,
)

__all__ = [
    "CategoryFigures",
    "Diagnosis",
    "FeatureFigures",
    "ImageRows",
    "QuantizerFigures",
    "ratio",
]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """A model measured on rows, by :func:`~spinlock.tokens.diagnosis_rows.diagnose`.

    Errors are in z-units, the units in which the model was trained: 1.0 is what predicting every
    feature's training mean would cost.

    Attributes:
        rows: rows measured.
        sampled_rows: of these, rows behind spectra, ``own_mse`` and images: a uniform sample.
        categories: worst first.
        quantizers: category-major, categories in the model's order.
        features: in the model's order.
        collisions: of whole rows of tokens.
        images: one entry per family of image columns.
    """

    rows: int
    sampled_rows: int
    categories: tuple[CategoryFigures, ...]
    quantizers: tuple[QuantizerFigures, ...]
    features: tuple[FeatureFigures, ...]
    collisions: Collisions
    images: tuple[ImageRows, ...] = ()

    @property
    def worst(self) -> CategoryFigures:
        """The category with the largest error."""
        return self.categories[0]

    @property
    def best(self) -> CategoryFigures:
        """The category with the smallest error."""
        return self.categories[-1]

    @property
    def mean_mse(self) -> float:
        """Mean of the categories' errors."""
        return math.fsum(category.mse for category in self.categories) / len(self.categories)

    @property
    def feature_mse(self) -> float:
        """Mean of the features' errors, so that a category counts by its width."""
        return math.fsum(feature.mse for feature in self.features) / len(self.features)

    @property
    def bits(self) -> float:
        """log2 K summed over all quantizers: bits per row."""
        return math.fsum(quantizer.nominal_bits for quantizer in self.quantizers)

    @property
    def entropy_bits(self) -> float:
        """Entropy of the code usage summed over all quantizers, bits per row."""
        return math.fsum(quantizer.entropy_bits for quantizer in self.quantizers)

    @property
    def utilization(self) -> float:
        """Mean over quantizers."""
        return math.fsum(q.utilization for q in self.quantizers) / len(self.quantizers)

    @property
    def perplexity(self) -> float:
        """Mean over quantizers."""
        return math.fsum(q.perplexity for q in self.quantizers) / len(self.quantizers)

    @property
    def num_codes(self) -> int:
        """Codes of all quantizers."""
        return sum(quantizer.num_codes for quantizer in self.quantizers)

    @property
    def dead_codes(self) -> int:
        """Codes that none of the measured rows chose, over all quantizers."""
        return sum(quantizer.dead_codes for quantizer in self.quantizers)

    def ratio_to_best(self, category: CategoryFigures) -> float | None:
        """The category's error / the smallest one; None where only the smallest is 0."""
        return ratio(category.mse, self.best.mse)

    def ratio_to_mean(self, category: CategoryFigures) -> float | None:
        """The category's error / the mean one."""
        return ratio(category.mse, self.mean_mse)

    def quantizers_of(self, category: str) -> tuple[QuantizerFigures, ...]:
        """A category's quantizers, coarse to fine."""
        return tuple(q for q in self.quantizers if q.category == category)

    def worst_features(self, most: int | None = None) -> tuple[FeatureFigures, ...]:
        """Features by error, largest first, the first ``most`` of them."""
        ordered = sorted(self.features, key=lambda feature: -feature.mse)
        return tuple(ordered[:most])

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON without NaN or infinities; images are left out."""
        return {
            "rows": self.rows,
            "sampled_rows": self.sampled_rows,
            "mean_mse": self.mean_mse,
            "feature_mse": self.feature_mse,
            "worst_category": self.worst.name,
            "worst_mse": self.worst.mse,
            "best_category": self.best.name,
            "best_mse": self.best.mse,
            "worst_over_mean": self.ratio_to_mean(self.worst),
            "worst_over_best": self.ratio_to_best(self.worst),
            "utilization": self.utilization,
            "mean_perplexity": self.perplexity,
            "dead_codes": self.dead_codes,
            "num_codes": self.num_codes,
            "bits": self.bits,
            "entropy_bits": self.entropy_bits,
            "collisions": self.collisions.to_dict(),
            "categories": [
                {
                    **category.to_dict(),
                    "ratio_to_best": self.ratio_to_best(category),
                    "ratio_to_mean": self.ratio_to_mean(category),
                }
                for category in self.categories
            ],
            "quantizers": [quantizer.to_dict() for quantizer in self.quantizers],
            "features": [feature.to_dict() for feature in self.features],
        }


def ratio(numerator: float, denominator: float) -> float | None:
    """A quotient; 1 where both are 0, None where only the denominator is.

    >>> ratio(3.0, 2.0), ratio(0.0, 0.0), ratio(1.0, 0.0)
    (1.5, 1.0, None)
    """
    if denominator == 0.0:
        return 1.0 if numerator == 0.0 else None
    return numerator / denominator
