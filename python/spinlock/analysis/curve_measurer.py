"""Measured operational rate-distortion curves: what residual codebooks of each size really lose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.analysis.operational_curve import OperatingPoint, Sizes, promising
from spinlock.analysis.rate_distortion import water_level
from spinlock.analysis.residual_kmeans import (
    ALIGNMENT,
    CodebookStack,
    Rows,
    columns_of,
    spread_rows,
)
from spinlock.analysis.statistics import one_blas_thread

FOLDS = 4
FIT_ROWS = 2048
LLOYD_STEPS = 8

_START_ROWS = 1536
# Sizes this far above the hull of the first fold are not measured on the others.
_SLACK = 1.05


@dataclass(frozen=True)
class Decoded:
    """Rows of one fold beside what a category's own codes decode to, around the fitted mean.

    Attributes:
        fit, fit_decoded: float32 [n, p], rows that codes were fitted to.
        held, held_decoded: float32 [n', p], rows that they were not.
    """

    fit: Rows
    fit_decoded: Rows
    held: Rows
    held_decoded: Rows


class CurveMeasurer:
    """Measures what residual codebooks of any sizes leave of one category.

    The rows are cut into four parts.  Each in turn is held out, while principal components and
    codebooks are fitted to the others, of which k-means takes at most ``fit_rows``; the error is
    the mean over the four.  Codebooks work on the leading components only, twice as many as lie
    above the water level at the most bits that are measured; the rest counts as lost.

    Args:
        rows: [n, p], n >= 4, as the model will see them (z-scores).
        most_bits: the most bits that will be asked for.
        seed: of the cut and of all draws.
        fit_rows: rows that k-means takes at most.

    >>> rows = np.random.default_rng(0).normal(size=(400, 3))
    >>> few, many = CurveMeasurer(rows, most_bits=9.0).measure([(2, 2), (8, 8)])
    >>> few.bits, many.bits, few.distortion > many.distortion > 0.0
    (2.0, 6.0, True)
    """

    def __init__(
        self, rows: ArrayLike, most_bits: float, seed: int = 0, fit_rows: int = FIT_ROWS
    ) -> None:
        values = np.asarray(rows, np.float64)
        order = np.random.default_rng(seed).permutation(len(values))
        self.num_cells = values.size
        self._folds: list[_Fold] = []
        for held in np.array_split(order, FOLDS):
            fitted = order[~np.isin(order, held)]
            self._folds.append(_Fold(values[fitted], values[held], most_bits, seed, fit_rows))

    def measure(self, sizes: Sequence[Sizes]) -> list[OperatingPoint]:
        """The error of each of these codebook sizes, all with the same number of levels.

        Codebooks of equal sizes in all levels so far are fitted once, and do not depend on what
        else is measured.
        """
        lost = sum((fold.lost(sizes) for fold in self._folds), start=np.zeros(len(sizes)))
        return self._points(sizes, lost / self.num_cells)

    def measure_promising(self, sizes: Sequence[Sizes]) -> list[OperatingPoint]:
        """The same, without the sizes that the first fold shows to be far from the curve."""
        first = self._folds[0].lost(sizes)
        chosen = promising(self._points(sizes, first / self._folds[0].num_cells), _SLACK)
        kept = [point.codebook_sizes for point in chosen]
        lost = first[[sizes.index(size) for size in kept]]
        lost = sum((fold.lost(kept) for fold in self._folds[1:]), start=lost)
        return self._points(kept, lost / self.num_cells)

    def decoded(self, sizes: Sizes) -> Iterator[Decoded]:
        """For each fold the rows and what codes of these sizes make of them."""
        for fold in self._folds:
            yield fold.decoded(sizes)

    def _points(self, sizes: Sequence[Sizes], errors: NDArray[np.float64]) -> list[OperatingPoint]:
        return [
            OperatingPoint(chosen, max(0.0, float(error)))
            for chosen, error in zip(sizes, errors, strict=True)
        ]


class _Fold:
    """One part held out, in the leading principal components of the others."""

    def __init__(
        self,
        fit: NDArray[np.float64],
        held: NDArray[np.float64],
        most_bits: float,
        seed: int,
        fit_rows: int,
    ) -> None:
        mean = fit.mean(axis=0)
        fit, held = fit - mean, held - mean
        with one_blas_thread():
            variances, axes = np.linalg.eigh(fit.T @ fit / len(fit))
            above = int((variances > water_level(variances, most_bits)).sum())
            self._axes = axes[:, ::-1][:, : min(fit.shape[1], max(2, 2 * above))]
            self._rows = fit[:fit_rows]
            self._held_rows = held
            self._fit = _padded(self._rows @ self._axes)
            self._held = _padded(held @ self._axes)
        self._seed = seed
        self._dim = self._fit.shape[1]
        self.num_cells = held.size
        # What no code can win back: the part of the rows outside the leading components.
        self._outside = float((held**2).sum() - (self._held.astype(np.float64) ** 2).sum())

    def lost(self, sizes: Sequence[Sizes]) -> NDArray[np.float64]:
        """Squared errors of these sizes, summed over the held rows and features."""
        parents: list[Sizes] = [()]
        fit, held = self._fit, self._held
        errors: dict[Sizes, float] = {}
        for depth in range(1, len(sizes[0]) + 1):
            prefixes = sorted({chosen[:depth] for chosen in sizes})
            order = [parents.index(prefix[:-1]) for prefix in prefixes]
            stack = self._started(prefixes, parents, fit)
            fit, held = columns_of(fit, self._dim, order), columns_of(held, self._dim, order)
            stack.refine(fit, LLOYD_STEPS)
            if depth == len(sizes[0]):
                errors = dict(zip(prefixes, stack.squared_errors(held).tolist(), strict=True))
            else:
                fit -= stack.quantized(fit)
                held -= stack.quantized(held)
            parents = prefixes
        return np.array([errors[chosen] + self._outside for chosen in sizes])

    def decoded(self, sizes: Sizes) -> Decoded:
        """The rows, and what codes of these sizes make of them."""
        fit, held = self._fit.copy(), self._held.copy()
        for depth in range(1, len(sizes) + 1):
            stack = self._started([sizes[:depth]], [sizes[: depth - 1]], fit)
            stack.refine(fit, LLOYD_STEPS)
            fit -= stack.quantized(fit)
            held -= stack.quantized(held)
        return Decoded(
            self._rows.astype(np.float32),
            self._back(self._fit - fit),
            self._held_rows.astype(np.float32),
            self._back(self._held - held),
        )

    def _back(self, found: Rows) -> Rows:
        with one_blas_thread():
            rows: Rows = found[:, : self._axes.shape[1]] @ self._axes.T.astype(np.float32)
        return rows

    def _started(
        self, prefixes: Sequence[Sizes], parents: Sequence[Sizes], fit: Rows
    ) -> CodebookStack:
        """Codebooks for these prefixes, started from rows of what their parents leave."""
        stack = CodebookStack(tuple(prefix[-1] for prefix in prefixes), self._dim)
        most = [max(p[-1] for p in prefixes if p[:-1] == parent) for parent in parents]
        generators = [np.random.default_rng([self._seed, *parent]) for parent in parents]
        rows = fit[:_START_ROWS]
        starts = spread_rows(rows, self._dim, most, generators)
        for index, prefix in enumerate(prefixes):
            at = parents.index(prefix[:-1])
            own = rows[:, at * self._dim : (at + 1) * self._dim]
            stack.set_codes(index, own[starts[at][: prefix[-1]]])
        return stack


def _padded(rows: NDArray[np.float64]) -> Rows:
    width = -(-rows.shape[1] // ALIGNMENT) * ALIGNMENT
    padded = np.zeros((len(rows), width), np.float32)
    padded[:, : rows.shape[1]] = rows
    return padded
