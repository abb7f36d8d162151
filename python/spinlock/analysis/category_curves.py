"""Rate-distortion curves of all categories: measured, or Gaussian where there are too few rows."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinlock.analysis.curve_measurer import CurveMeasurer
from spinlock.analysis.dims import MIN_CODES
from spinlock.analysis.operational_curve import (
    LEVEL_OFFSETS,
    PUBLISHED_OFFSETS,
    OperatingPoint,
    Sizes,
    candidate_sizes,
)
from spinlock.analysis.rate_distortion import gaussian_distortion
from spinlock.analysis.shared_decoder import shared_decoder_shares
from spinlock.analysis.statistics import one_blas_thread
from spinlock.errors import DataError

# Fewer rows leave too few to measure an error on.
FEWEST_ROWS = 200
SAMPLE_ROWS = 16_384
_MANY_ROWS = 3000
_ROWS_PER_CODE = 10


@dataclass(frozen=True)
class CategoryCurves:
    """What codebooks of each size lose, for every category.

    Attributes:
        points: by category, all sizes that were measured, by ascending bits.
        gaussian: the distortions are those of a Gaussian with the category's spectrum, for there
            were too few rows to measure any.
        spectra: by category, eigenvalues of the rows' covariance, descending.
        rows: rows that were looked at.
        max_codes: the largest codebook that may be chosen.
        shares: by category, what a decoder shared by all categories leaves of the error of its own
            codes; 1 until :meth:`with_shared_decoder`.
    """

    points: Mapping[str, tuple[OperatingPoint, ...]]
    gaussian: bool
    spectra: Mapping[str, tuple[float, ...]]
    rows: int
    max_codes: int
    _measurers: Mapping[str, CurveMeasurer] = field(repr=False)
    shares: Mapping[str, float] = field(default_factory=dict)

    def at(self, name: str, sizes: Sizes) -> OperatingPoint:
        """The point of any codebook sizes of a category, measured now unless it was."""
        for point in self.points[name]:
            if point.codebook_sizes == sizes:
                return point
        if self.gaussian:
            return _gaussian_point(self.spectra[name], sizes)
        (point,) = self._measurers[name].measure([sizes])
        return _scaled(point, self.shares.get(name, 1.0))

    def with_shared_decoder(self, sizes: Mapping[str, Sizes]) -> CategoryCurves:
        """The same curves, lowered by what categories say of each other at these sizes.

        A Gaussian's stay as they are: its spectra say nothing of other categories.
        """
        if self.gaussian:
            return self
        found = shared_decoder_shares(self._measurers, sizes)
        points = {
            name: tuple(_scaled(p, found[name] / self.shares.get(name, 1.0)) for p in points)
            for name, points in self.points.items()
        }
        return replace(self, points=points, shares=found)


def default_max_codes(training_rows: int) -> int:
    """The largest codebook that so many training rows can fill.

    256 from 3,000 rows on; below, 128, or a tenth of the rows if that is less.

    >>> [default_max_codes(n) for n in (50, 400, 1500, 3000)]
    [5, 40, 128, 256]
    """
    if training_rows >= _MANY_ROWS:
        return 256
    return max(MIN_CODES, min(128, training_rows // _ROWS_PER_CODE))


def measure_curves(
    rows: Mapping[str, ArrayLike],
    *,
    num_levels: int = 3,
    level_split: str = "measured",
    max_codes: int | None = None,
    training_rows: int | None = None,
    seed: int = 0,
    every_size: bool = False,
) -> CategoryCurves:
    """Operational rate-distortion curves of all categories, from rows as the model will see them.

    Args:
        rows: by category [n, p], the same n >= 2 rows in the same order.  Of more than
            ``SAMPLE_ROWS`` a uniform sample is taken.  With fewer than ``FEWEST_ROWS`` the
            Gaussian reference takes the place of measurements, as ``gaussian`` then says.
        num_levels: levels of every category.
        level_split: ``measured`` (several splits of a category's bits over its levels are tried)
            or ``published`` (codebook sizes 4 : 2 : 1).
        max_codes: the largest codebook; by the training rows where omitted.
        training_rows: rows that the codebooks will be trained on; n where omitted.
        seed: of the sample, the inner split and k-means.
        every_size: keep sizes that turn out to be far from the curve.

    Raises:
        DataError: no category, or fewer than two rows.

    >>> rng = np.random.default_rng(0)
    >>> rows = {"six": rng.normal(size=(500, 6)), "one": rng.normal(size=(500, 1))}
    >>> curves = measure_curves(rows)
    >>> curves.at("six", (8, 8, 8)).distortion > curves.at("one", (8, 8, 8)).distortion
    True
    """
    matrices = _sampled({name: np.asarray(values) for name, values in rows.items()}, seed)
    count = len(next(iter(matrices.values())))
    cap = max_codes or default_max_codes(training_rows or count)
    spectra = {name: _spectrum(values) for name, values in matrices.items()}
    measurers: dict[str, CurveMeasurer] = {}
    points: dict[str, tuple[OperatingPoint, ...]] = {}
    if count < FEWEST_ROWS:
        # How bits are split over the levels is all the same to it.
        sizes = candidate_sizes(num_levels, cap, LEVEL_OFFSETS[:1])
        for name, spectrum in spectra.items():
            points[name] = tuple(_gaussian_point(spectrum, chosen) for chosen in sizes)
    else:
        offsets = PUBLISHED_OFFSETS if level_split == "published" else LEVEL_OFFSETS
        sizes = candidate_sizes(num_levels, cap, offsets)
        most = num_levels * math.log2(cap)
        measurers = {name: CurveMeasurer(x, most, seed) for name, x in matrices.items()}

        def curve(name: str) -> tuple[OperatingPoint, ...]:
            measurer = measurers[name]
            measure = measurer.measure if every_size else measurer.measure_promising
            return tuple(measure(sizes))

        # The kernels let go of the interpreter; what one category gives depends on no other.
        with ThreadPoolExecutor(min(len(measurers), os.cpu_count() or 1)) as pool:
            points = dict(zip(measurers, pool.map(curve, measurers), strict=True))
    return CategoryCurves(points, not measurers, spectra, count, cap, measurers)


def _sampled(rows: dict[str, NDArray[np.floating]], seed: int) -> dict[str, NDArray[np.floating]]:
    counts = {len(values) for values in rows.values()}
    if len(counts) != 1 or min(counts) < 2:
        raise DataError(
            "rate-distortion curves need the same rows, at least 2, of every category; got "
            f"{sorted(counts) or 'no category'}"
        )
    (count,) = counts
    if count <= SAMPLE_ROWS:
        return rows
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:SAMPLE_ROWS])
    return {name: values[chosen] for name, values in rows.items()}


def _spectrum(values: NDArray[np.floating]) -> tuple[float, ...]:
    centred = values.astype(np.float64)
    centred -= centred.mean(axis=0)
    with one_blas_thread():
        found = np.linalg.eigvalsh(centred.T @ centred / len(centred))[::-1]
    return tuple(np.maximum(found, 0.0).tolist())


def _scaled(point: OperatingPoint, share: float) -> OperatingPoint:
    return OperatingPoint(point.codebook_sizes, point.distortion * share)


def _gaussian_point(spectrum: tuple[float, ...], sizes: Sizes) -> OperatingPoint:
    return OperatingPoint(sizes, gaussian_distortion(spectrum, OperatingPoint(sizes, 0.0).bits))
