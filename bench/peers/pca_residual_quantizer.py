"""The peer without a network: PCA and faiss' ResidualQuantizer, jointly over all features.

    python -m bench.peers.pca_residual_quantizer --config configs/vqvae/seed_shape.yaml --beam 16

A whole process: data are loaded, split, cleaned, grouped, planned and normalised by spinlock
(without its model; torch is never imported), which gives the rows and the bits per row.  The
training rows are projected to their first 64 principal components, which the quantizer encodes
together in stages of 256 codes, and one smaller stage for the bits left over.  It has one
validation, at its end.  Its tokens belong to no category, so that a part of the features cannot be
read alone, which spinlock's can.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.peers.whole_run import Measured, WholeRun, arguments_parser, config_of, report
from spinlock.analysis.statistics import one_blas_thread
from spinlock.data import load_table
from spinlock.data.categories import discover_categories
from spinlock.data.column_cleaner import ColumnCleaner
from spinlock.data.column_normaliser import ColumnNormaliser
from spinlock.data.sampling import sample_rows
from spinlock.data.split import split_rows
from spinlock.training.planning import precompute_compression_ratios

if TYPE_CHECKING:
    from spinlock.config import TrainConfig

__all__ = ["DEFAULT_BEAM", "PCA_DIMS", "STAGE_BITS", "main", "stage_bits"]

PCA_DIMS = 64
"""Principal components that are kept, or as many as there are features."""

DEFAULT_BEAM = 5
"""The beam that faiss has by itself."""

STAGE_BITS = 8
"""Bits of a stage: 256 codes."""

Matrix = NDArray[np.float32]


def stage_bits(bits: float, largest: int = STAGE_BITS) -> list[int]:
    """Bits of each stage: ``largest`` each, and one stage with what is left of the whole bits.

    >>> stage_bits(94.57)
    [8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 6]
    """
    whole = int(bits)
    stages = [largest] * (whole // largest)
    rest = whole % largest
    return [*stages, rest] if rest else stages


def main(arguments: list[str] | None = None) -> int:
    """Fits once and prints the report; returns the exit code."""
    parser = arguments_parser(str(__doc__).splitlines()[0])
    parser.add_argument("--beam", type=int, default=DEFAULT_BEAM, help="of fitting and encoding")
    parser.add_argument("--stage-bits", type=int, default=STAGE_BITS, help="log2 codes a stage")
    parser.add_argument("--dims", type=int, default=PCA_DIMS, help="principal components")
    options = parser.parse_args(arguments)
    run = WholeRun()
    run.stamp("imported")
    train, held_out, sizes = _prepare(config_of(options), run)
    run.training_rows, run.features = train.shape
    run.held_out_rows = len(held_out)
    run.stamp("training")
    decoded, bits = _fitted(train, held_out, run.bits, options)
    errors = np.square(decoded - held_out, dtype=np.float64).mean(axis=0)
    run.measured.append(Measured(time.monotonic(), float(errors.mean())))
    starts = np.cumsum([0, *sizes[:-1]])
    run.category_mse = (np.add.reduceat(errors, starts) / np.array(sizes)).tolist()
    run.bits = float(bits)
    run.note = (
        f"PCA to {min(options.dims, run.features)} dims, {options.stage_bits}-bit stages, "
        f"beam {options.beam}"
    )
    report(run, options.json)
    return 0


def _prepare(config: TrainConfig, run: WholeRun) -> tuple[Matrix, Matrix, tuple[int, ...]]:
    """Training and held-out rows in z-units, as spinlock's own run has them; category sizes."""
    table = load_table(config.dataset_path)
    if config.max_samples is not None and config.max_samples < table.num_rows:
        table = table.take_rows(sample_rows(table.num_rows, config.max_samples, config.random_seed))
    settings = config.training
    parts = split_rows(table.num_rows, settings.validation_split, config.random_seed)
    cleaner = ColumnCleaner(seed=config.random_seed, **config.feature_cleaning.model_dump())
    fitted = table.take_rows(parts[0])
    cleaned = cleaner.fit(fitted).transform(fitted)
    run.stamp("cleaned")
    names = tuple(str(name) for name in cleaner.get_feature_names_out())
    groups = discover_categories(
        cleaned,
        names,
        cleaner.families_out(table.families),
        assignment=settings.category_assignment,
        num_categories_auto=settings.num_categories_auto,
        max_clusters=settings.max_clusters,
        min_features_per_category=settings.min_features_per_category,
        isolated_families=tuple(settings.isolated_families),
        seed=config.random_seed,
    )
    plan = precompute_compression_ratios(config, cleaned, groups)
    normaliser = ColumnNormaliser(config.normalization_method, seed=config.random_seed)
    normaliser.fit(cleaned[:, groups.order], names=[names[column] for column in groups.order])
    train, held_out = (
        np.ascontiguousarray(
            normaliser.transform(cleaner.transform(table.features[rows])[:, groups.order]),
            dtype=np.float32,
        )
        for rows in parts
    )
    run.stamp("prepared")
    run.bits = plan.bits
    return train, held_out, groups.sizes


def _fitted(
    train: Matrix, held_out: Matrix, bits_per_row: float, options: argparse.Namespace
) -> tuple[Matrix, int]:
    """The held-out rows as they come back, and the bits they were stored in."""
    import faiss as faiss_package

    faiss: Any = faiss_package  # its stubs know no stages of different bits
    faiss.omp_set_num_threads(options.threads)
    mean = train.mean(axis=0)
    centred = train - mean
    with one_blas_thread():
        covariance = centred.T @ centred / len(train)
        axes = np.linalg.eigh(covariance)[1][:, ::-1][:, : options.dims]
    axes = np.ascontiguousarray(axes, dtype=np.float32)
    stages = faiss.UInt64Vector()
    for bits in stage_bits(bits_per_row, options.stage_bits):
        stages.push_back(bits)
    quantizer = faiss.ResidualQuantizer(axes.shape[1], stages)
    quantizer.max_beam_size = options.beam
    quantizer.train(np.ascontiguousarray(centred @ axes))
    codes = quantizer.compute_codes(np.ascontiguousarray((held_out - mean) @ axes))
    decoded: Matrix = quantizer.decode(codes) @ axes.T + mean
    return decoded, int(quantizer.tot_bits)


if __name__ == "__main__":
    sys.exit(main())
