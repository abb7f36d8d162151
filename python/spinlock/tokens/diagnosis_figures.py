"""What a diagnosis says of one codebook, one feature, one category; and the images of a family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinlock.tokens.diagnosis_collisions import Collisions
from spinlock.training.metrics import perplexity, utilization


@dataclass(frozen=True)
class QuantizerFigures:
    """One codebook over the measured rows.

    Attributes:
        category, level: which one; ``name`` is ``<category>/L<level>``.
        latent_dim: logical dimensions that it quantizes.
        counts: how many rows chose each of its K codes.

    >>> figures = QuantizerFigures("shape", 0, latent_dim=4, counts=(3, 1, 0, 0))
    >>> figures.name, figures.dead_codes, figures.utilization, figures.nominal_bits
    ('shape/L0', 2, 0.5, 2.0)
    >>> round(figures.entropy_bits, 3), round(figures.perplexity, 3)
    (0.811, 1.755)
    """

    category: str
    level: int
    latent_dim: int
    counts: tuple[int, ...]

    @property
    def name(self) -> str:
        """``<category>/L<level>``."""
        return f"{self.category}/L{self.level}"

    @property
    def num_codes(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def dead_codes(self) -> int:
        """Codes that none of the measured rows chose."""
        return self.counts.count(0)

    @property
    def utilization(self) -> float:
        """Codes chosen at least once / K."""
        return utilization(self._array())

    @property
    def perplexity(self) -> float:
        """exp(entropy) of the usage: how many codes, equally used, would say as much."""
        return perplexity(self._array())

    @property
    def nominal_bits(self) -> float:
        """log2 K: bits of a token stored as it is."""
        return math.log2(self.num_codes)

    @property
    def entropy_bits(self) -> float:
        """Bits per token of an ideal entropy coder that knows the usage."""
        return math.log2(self.perplexity)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "name": self.name,
            "category": self.category,
            "level": self.level,
            "latent_dim": self.latent_dim,
            "num_codes": self.num_codes,
            "utilization": self.utilization,
            "dead_codes": self.dead_codes,
            "perplexity": self.perplexity,
            "nominal_bits": self.nominal_bits,
            "entropy_bits": self.entropy_bits,
            "counts": list(self.counts),
        }

    def _array(self) -> NDArray[np.int64]:
        return np.asarray(self.counts, dtype=np.int64)


@dataclass(frozen=True)
class FeatureFigures:
    """One feature over the measured rows.

    Attributes:
        name: the cleaned column.
        category: where it belongs.
        mse: mean squared error in z-units.
        r2: 1 - squared error / variance of the feature over these rows; None where it is constant.
        rmse: root of the mean squared error in the column's own units, after cleaning.
    """

    name: str
    category: str
    mse: float
    r2: float | None
    rmse: float

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class CategoryFigures:
    """One category over the measured rows.

    Attributes:
        name: the category.
        num_features: n, its cleaned columns.
        mse: mean over its features and the rows, in z-units.
        r2: 1 - its squared error / its variance over these rows; None where it is constant.
        own_mse: the error where only its own tokens are known and what the other categories' tokens
            add stands at its mean over training, from the sampled rows; the gap to ``mse`` is what
            the others tell.
        bits: sum over its levels of log2 K.
        entropy_bits: sum over its levels of the entropy of the code usage.
        collisions: of its own tokens.
        spectrum: eigenvalues of the covariance of its z-scored features, descending, from the
            sampled rows; as many as there are features or sampled rows.
        gaussian_mse: what a Gaussian with that spectrum would lose at ``bits``
            (:func:`~spinlock.analysis.rate_distortion.gaussian_distortion`); None where fewer
            than 2 n rows were sampled, too few to know the spectrum.
    """

    name: str
    num_features: int
    mse: float
    r2: float | None
    own_mse: float
    bits: float
    entropy_bits: float
    collisions: Collisions
    spectrum: tuple[float, ...]
    gaussian_mse: float | None

    @property
    def gaussian_gap_db(self) -> float | None:
        """10 log10(mse / gaussian_mse); below 0 the model beats the reference."""
        if self.gaussian_mse is None or self.gaussian_mse <= 0.0 or self.mse <= 0.0:
            return None
        return 10.0 * math.log10(self.mse / self.gaussian_mse)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            **vars(self),
            "collisions": self.collisions.to_dict(),
            "spectrum": list(self.spectrum),
            "gaussian_gap_db": self.gaussian_gap_db,
        }


@dataclass(frozen=True, eq=False)
class ImageRows:
    """Rows whose columns form an image, before and after.

    Attributes:
        family: of the columns ``r<row>c<column>``.
        originals, reconstructions: float32 ``[n, height, width]``, raw units.
    """

    family: str
    originals: NDArray[np.float32]
    reconstructions: NDArray[np.float32]
