"""Which columns cleaning drops, decided from the two passes over the training rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinlock.analysis.statistics import column_distinct
from spinlock.data.cleaning_passes import RawColumns, RepairedColumns
from spinlock.data.cleaning_report import CleaningReport, CleaningStep, DroppedFeature
from spinlock.data.column_repair import RESOLUTION, ColumnRepair
from spinlock.errors import DataError


@dataclass(frozen=True)
class Thresholds:
    """The four numbers that decide whether a column stays."""

    variance: float
    max_variance: float
    max_cv: float
    duplicate: float


class Selection:
    """The dropping steps in their order, on k repaired of D raw columns.

    Attributes:
        constant: positions of columns that were dropped for having no variance.
        partners: position of a dropped duplicate -> position of the kept column it repeats.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        raw: RawColumns,
        repair: ColumnRepair,
        repaired: RepairedColumns,
    ) -> None:
        self._names = names
        self._raw = raw
        self._repair = repair
        self._repaired = repaired
        self._alive = np.ones(len(repair.columns), dtype=bool)
        self._flattened = 0
        self._below = 0
        self._largest_below = 0.0
        self.constant = np.zeros(0, dtype=np.int64)
        self.partners: dict[int, int] = {}

    def run(
        self, thresholds: Thresholds, outlier_method: str
    ) -> tuple[NDArray[np.int64], CleaningReport]:
        """Positions of the repaired columns that stay, ascending, and the report.

        Raises:
            DataError: no column stays; says which thresholds to relax.
        """
        steps = (
            self._empty(),
            self._outliers(outlier_method),
            self._constant(thresholds.variance),
            self._extreme(thresholds.max_variance, thresholds.max_cv),
            self._duplicates(thresholds.duplicate),
        )
        positions = np.flatnonzero(self._alive)
        if positions.size == 0:
            raise DataError(self._nothing_left(steps, thresholds))
        report = CleaningReport(
            num_rows=self._raw.moments.num_rows,
            features_in=len(self._names),
            features_out=len(positions),
            steps=steps,
        )
        return positions, report

    def _empty(self) -> CleaningStep:
        count, repaired = self._raw.moments.count, self._repaired
        missing = np.setdiff1d(np.arange(len(self._names)), self._repair.columns)
        dropped = tuple(
            DroppedFeature(
                self._names[j],
                "no finite value"
                if count[j] == 0
                else f"only {count[j]} finite values, none of them in the row sample",
            )
            for j in missing
        )
        return _changed("non-finite values to the median", repaired.filled, dropped)

    def _outliers(self, method: str) -> CleaningStep:
        return _changed(f"outliers capped ({method})", self._repaired.capped, ())

    def _constant(self, threshold: float) -> CleaningStep:
        moments, raw = self._repaired.moments, self._raw.moments
        columns = self._repair.columns
        magnitude = np.maximum(np.abs(moments.minimum), np.abs(moments.maximum))
        rounding = moments.std <= RESOLUTION * magnitude
        constant = moments.minimum == moments.maximum
        flattened = constant & (raw.minimum != raw.maximum)[columns]
        below = ~rounding & (moments.variance <= threshold)
        self._flattened, self._below = int(flattened.sum()), int(below.sum())
        self._largest_below = float(moments.variance.max(initial=0.0, where=below))
        reasons = {}
        for j in np.flatnonzero(rounding | below).tolist():
            if constant[j]:
                reasons[j] = "constant once its outliers are capped" if flattened[j] else "constant"
            elif rounding[j]:
                reasons[j] = (
                    f"standard deviation {moments.std[j]:.3g} is rounding noise of values up to "
                    f"{magnitude[j]:.3g}"
                )
            else:
                reasons[j] = f"variance {moments.variance[j]:.3g} <= {threshold:.3g}"
        self.constant = np.array(sorted(reasons), dtype=np.int64)
        return self._drop("zero variance", reasons)

    def _extreme(self, max_variance: float, max_cv: float) -> CleaningStep:
        variance, magnitude = self._repaired.moments.variance, self._repaired.mean_magnitude
        cv = np.sqrt(variance) / np.where(magnitude > 0, magnitude, 1.0)
        extreme = self._alive & (variance > max_variance) & (cv > max_cv)
        reasons = {
            j: f"variance {variance[j]:.3g} > {max_variance:.3g} and coefficient of variation "
            f"{cv[j]:.3g} > {max_cv:.3g}"
            for j in np.flatnonzero(extreme).tolist()
        }
        return self._drop("extreme variance", reasons)

    def _duplicates(self, threshold: float) -> CleaningStep:
        correlation = self._repaired.correlation
        if correlation is None:
            return self._drop("duplicates", {})
        strength = np.abs(correlation) * np.outer(self._alive, self._alive)
        np.fill_diagonal(strength, 0.0)
        twins = np.flatnonzero((strength > threshold).any(axis=1))
        if twins.size == 0:
            return self._drop("duplicates", {})
        distinct = column_distinct(self._repair.select(twins).apply(self._raw.sample.rows))
        filled = self._repaired.filled[twins]
        # Fewer filled values first, then more distinct ones, then the earlier column.
        order = twins[np.lexsort((twins, -distinct, filled))]
        kept: list[int] = []
        reasons = {}
        for j in order.tolist():
            rivals = strength[j, kept]
            if rivals.size and rivals.max() > threshold:
                partner = kept[int(rivals.argmax())]
                name = self._names[self._repair.columns[partner]]
                self.partners[j] = partner
                reasons[j] = f"|r| = {strength[j, partner]:.4f} with {name}"
            else:
                kept.append(j)
        return self._drop("duplicates", reasons)

    def _drop(self, step: str, reasons: dict[int, str]) -> CleaningStep:
        self._alive[list(reasons)] = False
        dropped = tuple(
            DroppedFeature(self._names[self._repair.columns[j]], reasons[j])
            for j in sorted(reasons)
        )
        return CleaningStep(step, dropped=dropped)

    def _nothing_left(self, steps: tuple[CleaningStep, ...], thresholds: Thresholds) -> str:
        empty, _, constant, extreme, _ = (len(step.dropped) for step in steps)
        advice = []
        if self._flattened:
            advice.append("widen percentile_range or set outlier_method to none")
        if self._below:
            advice.append(
                f"lower variance_threshold (now {thresholds.variance:.3g}) below "
                f"{self._largest_below:.3g}, the largest variance that it dropped"
            )
        if extreme:
            advice.append(
                f"raise max_variance_threshold (now {thresholds.max_variance:.3g}) or "
                f"max_cv_threshold (now {thresholds.max_cv:.3g})"
            )
        remedy = f"Under feature_cleaning, {'; '.join(advice)}" if advice else "Check the data set"
        return (
            f"cleaning left none of the {len(self._names)} columns: {empty} without a finite "
            f"value, {constant} without variance ({self._flattened} of them once capped), "
            f"{extreme} with extreme variance. {remedy}."
        )


def _changed(
    step: str, counts: NDArray[np.int64], dropped: tuple[DroppedFeature, ...]
) -> CleaningStep:
    return CleaningStep(step, int(counts.sum()), int((counts > 0).sum()), dropped)
