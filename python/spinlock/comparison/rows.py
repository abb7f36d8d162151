"""One row of a comparison: a contender on one split, with every figure measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spinlock.training.metrics import EvaluationMetrics

Accuracy = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Row:
    """What one contender reached on one split, or why it could not run.

    Attributes:
        name: of the strategy or peer.
        seed: of the split and of the run.
        fold: which part of the rows is held out; None for the configuration's own split.
        budget: bits per row that all contenders of the split are brought to.
        own_bits: what the contender's plan asked for by itself.
        exponent: the power that its codebook sizes were raised to; see
            :func:`~spinlock.comparison.budget.at_budget`.
        metrics: on the held-out rows; None where it could not run.
        gaussian_mse: what an ideal code of a Gaussian loses at ``metrics.bits``, all features
            together.
        gap_db: 10 log10(``metrics.feature_mse`` / ``gaussian_mse``); below 0 is better.
        total_codes: in all codebooks.
        parameters: numbers that are learned: weights, axes and codes.
        epochs: trained; 0 without training.
        seconds: of planning and fitting.
        accuracy: score per classifier and view; None without labels.
        training_rows, held_out_rows: of the split.
        note: why it could not run, or None.
    """

    name: str
    seed: int
    fold: int | None
    budget: float
    own_bits: float | None = None
    exponent: float | None = None
    metrics: EvaluationMetrics | None = None
    gaussian_mse: float | None = None
    gap_db: float | None = None
    total_codes: int | None = None
    parameters: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    accuracy: Accuracy | None = None
    training_rows: int = 0
    held_out_rows: int = 0
    note: str | None = None

    @property
    def key(self) -> tuple[str, int, int | None]:
        """Contender and split: no two rows of a comparison have the same."""
        return self.name, self.seed, self.fold

    @property
    def bits_over(self) -> float | None:
        """Bits above the budget; below 0 where rounding leaves some unspent."""
        return None if self.metrics is None else self.metrics.bits - self.budget

    @property
    def retention(self) -> float | None:
        """The best classifier's score on decoded features over the best one's on raw features."""
        if not self.accuracy:
            return None
        best = [max(views[view] for views in self.accuracy.values()) for view in ("decoded", "raw")]
        return best[0] / best[1]

    @property
    def decoded_accuracy(self) -> float | None:
        """The best classifier's score on decoded features."""
        if not self.accuracy:
            return None
        return max(views["decoded"] for views in self.accuracy.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON, derived figures included."""
        plain = dict(vars(self))
        plain["metrics"] = None if self.metrics is None else self.metrics.to_dict()
        plain["bits_over"] = self.bits_over
        plain["retention"] = self.retention
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Row:
        """The row that :meth:`to_dict` wrote; derived figures are computed anew."""
        fields = {name: plain[name] for name in cls.__dataclass_fields__}
        if fields["metrics"] is not None:
            fields["metrics"] = EvaluationMetrics.from_dict(fields["metrics"])
        return cls(**fields)
