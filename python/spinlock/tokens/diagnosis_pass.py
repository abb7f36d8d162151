"""The pass behind a diagnosis: blocks of raw rows in, figures out; parts of a data set merge."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spinlock.analysis.rate_distortion import gaussian_distortion
from spinlock.analysis.statistics import Moments, RowReservoir
from spinlock.errors import DataError
from spinlock.tokens.diagnosis import (
    CategoryFigures,
    Diagnosis,
    FeatureFigures,
    ImageRows,
    QuantizerFigures,
)
from spinlock.tokens.diagnosis_collisions import CollisionCounter, token_hashes
from spinlock.tokens.diagnosis_images import image_grids

if TYPE_CHECKING:
    from spinlock.training.checkpoint import SavedModel

Floats = NDArray[np.float64]

# Values, and rows, of a block that the network sees at once and of the row sample.
_BLOCK_VALUES, _SAMPLE_VALUES = 1 << 22, 1 << 24
_BLOCK_ROWS, _SAMPLE_ROWS = 8_192, 2_048
# Token tuples that all collision counters together keep.
_HASHES = 1 << 21
_IMAGES = 12


class DiagnosisPass:
    """Mergeable measurements of one model on raw rows ``[N, D]``.

    Sums are float64; any blocks and any merge tree give the same figures to rounding.  Memory
    depends on the model and the width, never on N: a sample of at most 2,048 rows, code counts,
    and up to 2^21 token hashes (collision rates are exact while there are no more different token
    tuples than each counter's share of these; see :class:`CollisionCounter`).

    Args:
        saved: the model and its preprocessing.
        device: where the network runs; the model is moved there.
        seed: of the row sample.
    """

    def __init__(self, saved: SavedModel, *, device: str = "cpu", seed: int = 0) -> None:
        config = saved.model.config
        self.saved = saved
        self.device = torch.device(device)
        self.model = saved.model.to(self.device).eval()
        self.num_rows = 0
        self._sizes = [size for levels in config.codebook_sizes for size in levels]
        self._ends = np.cumsum(self._sizes)
        self._squared = np.zeros(config.num_features)
        self._moments = Moments()
        self._counts = np.zeros(sum(self._sizes), dtype=np.int64)
        width = max(1, len(saved.preprocessing.names))
        self._block_rows = min(_BLOCK_ROWS, max(256, _BLOCK_VALUES // width))
        capacity = min(_SAMPLE_ROWS, max(256, _SAMPLE_VALUES // width))
        self._sample = RowReservoir(capacity, seed)
        kept = max(1 << 12, _HASHES // (config.num_categories + 1))
        self._whole = CollisionCounter(kept)
        self._by_category = [CollisionCounter(kept) for _ in config.category_names]

    def update(self, rows: Any, first_row: int | None = None) -> Self:
        """Add raw rows ``[n, D]`` in the order of ``saved.preprocessing.names``.

        Args:
            rows: real numbers; what is missing is filled as in training.
            first_row: the number of the first of them in the data set, which decides what is
                sampled; after the rows so far where omitted.

        Raises:
            DataError: another number of columns.
        """
        features = np.asarray(rows, dtype=np.float32)
        pieces = range(0, max(1, len(features)), self._block_rows)
        for start in pieces:
            x = self.saved.preprocessing.transform(features[start : start + self._block_rows])
            if len(x):
                self._add(x)
        if len(features):
            self._sample.update(features, self.num_rows if first_row is None else first_row)
            self.num_rows += len(features)
        return self

    def merge(self, other: DiagnosisPass) -> Self:
        """Add all that ``other`` measured with the same model on other rows of the data set."""
        self.num_rows += other.num_rows
        self._squared += other._squared
        self._moments.merge(other._moments)
        self._counts += other._counts
        self._sample.merge(other._sample)
        self._whole.merge(other._whole)
        for own, new in zip(self._by_category, other._by_category, strict=True):
            own.merge(new)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What was measured, without the model: enough to be merged into another pass."""
        return {k: v for k, v in vars(self).items() if k not in ("saved", "model", "device")}

    def finalise(self) -> Diagnosis:
        """The figures of all rows so far.

        Raises:
            DataError: no rows.
        """
        if self.num_rows == 0:
            raise DataError("there are no rows to diagnose the model on; give at least one row")
        raw = self._sample.finalise().rows
        x = self.saved.preprocessing.transform(np.asarray(raw, dtype=np.float32))
        quantizers = tuple(self._quantizers())
        categories = sorted(self._categories(x, quantizers), key=lambda c: -c.mse)
        return Diagnosis(
            rows=self.num_rows,
            sampled_rows=len(raw),
            categories=tuple(categories),
            quantizers=quantizers,
            features=tuple(self._features()),
            collisions=self._whole.finalise(),
            images=tuple(self._images(raw[:_IMAGES], x[:_IMAGES])),
        )

    @torch.no_grad()
    def _add(self, x: NDArray[np.float32]) -> None:
        block = torch.from_numpy(x).to(self.device)
        output = self.model.quantize(self.model.encode(block))
        errors = self.model.decode(output.quantized) - block
        self._squared += errors.double().square().sum(0).cpu().numpy()
        self._moments.update(x)
        tokens = output.indices.cpu().numpy()
        flat = (tokens + (self._ends - self._sizes)).ravel()
        self._counts += np.bincount(flat, minlength=len(self._counts))
        levels = self.model.config.num_levels
        hashes = None
        for category, counter in enumerate(self._by_category):
            part = tokens[:, category * levels : (category + 1) * levels]
            counter.update(token_hashes(part))
            hashes = token_hashes(part, hashes)
        if hashes is not None:
            self._whole.update(hashes)

    def _quantizers(self) -> Iterator[QuantizerFigures]:
        config = self.model.config
        counts = iter(np.split(self._counts, self._ends[:-1]))
        for category, dims in zip(config.category_names, config.latent_dims, strict=True):
            for level, dim in enumerate(dims):
                yield QuantizerFigures(category, level, dim, tuple(next(counts).tolist()))

    def _features(self) -> Iterator[FeatureFigures]:
        config, preprocessing = self.model.config, self.saved.preprocessing
        mse = self._squared / self.num_rows
        variance = self._moments.finalise().variance
        rmse = np.sqrt(mse) * np.asarray(preprocessing.normaliser.scale_)
        categories = np.repeat(config.category_names, config.category_sizes).tolist()
        for column, name in enumerate(preprocessing.feature_names):
            yield FeatureFigures(
                name=name,
                category=categories[column],
                mse=float(mse[column]),
                r2=_explained(float(mse[column]), float(variance[column])),
                rmse=float(rmse[column]),
            )

    def _categories(
        self, x: NDArray[np.float32], quantizers: tuple[QuantizerFigures, ...]
    ) -> Iterator[CategoryFigures]:
        config = self.model.config
        mse = self._squared / self.num_rows
        variance = self._moments.finalise().variance
        own = self._own_errors(x)
        start = 0
        for category, (name, size) in enumerate(
            zip(config.category_names, config.category_sizes, strict=True)
        ):
            columns = slice(start, start + size)
            start += size
            levels = config.num_levels
            of = quantizers[category * levels : (category + 1) * levels]
            bits = math.fsum(quantizer.nominal_bits for quantizer in of)
            spectrum = _spectrum(x[:, columns])
            known = len(x) >= 2 * size
            error = float(mse[columns].mean())
            yield CategoryFigures(
                name=name,
                num_features=size,
                mse=error,
                r2=_explained(error, float(variance[columns].mean())),
                own_mse=own[category],
                bits=bits,
                entropy_bits=math.fsum(quantizer.entropy_bits for quantizer in of),
                collisions=self._by_category[category].finalise(),
                spectrum=tuple(spectrum.tolist()),
                gaussian_mse=gaussian_distortion(spectrum, bits) if known else None,
            )

    @torch.no_grad()
    def _own_errors(self, x: NDArray[np.float32]) -> list[float]:
        """Each category's error over the sample where only its own tokens are known."""
        squared = np.zeros(self.model.config.num_categories)
        for start in range(0, len(x), self._block_rows):
            block = torch.from_numpy(x[start : start + self._block_rows]).to(self.device)
            errors = self.model.own_errors(block, self.model.get_tokens(block))
            squared += errors.double().sum(0).cpu().numpy()
        return [float(error) for error in squared / len(x)]

    @torch.no_grad()
    def _images(self, raw: NDArray[Any], x: NDArray[np.float32]) -> Iterator[ImageRows]:
        preprocessing = self.saved.preprocessing
        grids = image_grids(preprocessing.names, preprocessing.families)
        if not grids:
            return
        block: Tensor = torch.from_numpy(x).to(self.device)
        decoded = self.model.decode(self.model.quantize(self.model.encode(block)).quantized)
        restored = preprocessing.restore(decoded.cpu().numpy())
        for family, grid in grids.items():
            yield ImageRows(family, raw[:, grid].astype(np.float32), restored[:, grid])


def _spectrum(columns: NDArray[np.float32]) -> Floats:
    """Eigenvalues of the population covariance of ``columns [S, n]``, descending, min(S, n)."""
    centred = columns.astype(np.float64)
    centred -= centred.mean(axis=0)
    rows, size = centred.shape
    scatter = centred.T @ centred if size <= rows else centred @ centred.T
    return np.clip(np.linalg.eigvalsh(scatter / rows)[::-1], 0.0, None)


def _explained(mse: float, variance: float) -> float | None:
    return None if variance <= 0.0 else 1.0 - mse / variance
