"""All features together: PCA and faiss' residual quantizer with a beam, as a bound to approach.

Its tokens belong to no category, so that no part of the features can be read alone.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from spinlock.analysis.statistics import one_blas_thread
from spinlock.comparison.measuring import Fitted, Matrix, squared_errors, unused_codes
from spinlock.errors import ConfigError, import_failure

BEAM = 16
DIMS = (32, 64, 128, 256)
STAGE_BITS = (4, 5, 6, 8)
# Rows per code that a stage must have, or its codes only learn the training rows by heart.
_ROWS_PER_CODE = 5
# The choice is made on at most so many rows.
_CHOICE_ROWS = 4_096


@dataclass(frozen=True, eq=False)
class JointCodec:
    """PCA and a fitted residual quantizer.

    Attributes:
        mean: ``[D]``.
        axes: ``[D, d]``.
        quantizer: faiss' ResidualQuantizer.
        stages: bits of each stage.
    """

    mean: Matrix
    axes: Matrix
    quantizer: Any
    stages: tuple[int, ...]

    def encode(self, x: Matrix, beam: int) -> Any:
        """Packed codes, uint8 ``[B, bytes]``."""
        self.quantizer.max_beam_size = beam
        return self.quantizer.compute_codes(np.ascontiguousarray((x - self.mean) @ self.axes))

    def decode(self, codes: Any) -> Matrix:
        """Packed codes to rows ``[B, D]``, float32."""
        latents = self.quantizer.decode(codes)
        return np.asarray(latents @ self.axes.T + self.mean, dtype=np.float32)


def load_faiss() -> Any | None:
    """The module, or None where it is not installed.

    Raises:
        ConfigError: it is there, but cannot be imported.
    """
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError:
        return None
    except ImportError as error:
        raise ConfigError(
            f"joint_rq needs faiss{import_failure(error)}: pip install --force-reinstall faiss-cpu"
        ) from error


def fit_joint_rq(faiss: Any, train: Matrix, held_out: Matrix, bits: float, seed: int) -> Fitted:
    """Fits with the dims and stage sizes that are best on an inner split of the training rows.

    Codebooks are fitted with a beam of 1, which measured better than fitting with more; encoding
    has a beam of 16.

    Args:
        faiss: the module.
        train: ``[N, D]`` z-scored.
        held_out: ``[M, D]``.
        bits: per row; whole bits of it are used.
        seed: of the inner split.
    """
    started = time.perf_counter()
    with one_blas_thread():
        dims, stage = chosen_shape(faiss, train, bits, seed)
        codec = fit_codec(faiss, train, stage_bits(bits, stage), dims)
        codes = [codec.encode(part, BEAM) for part in (train, held_out)]
        decoded = [codec.decode(part) for part in codes]
    tokens = [unpacked(faiss, part, codec.stages) for part in codes]
    sizes = tuple(2**bits for bits in codec.stages)
    return Fitted(
        decoded_training=decoded[0],
        decoded_held_out=decoded[1],
        held_out_tokens=tokens[1],
        codebook_sizes=sizes,
        dead_codes=unused_codes(tokens[0], sizes),
        parameters=codec.mean.size + codec.axes.size + sum(sizes) * codec.axes.shape[1],
        epochs=0,
        seconds=time.perf_counter() - started,
    )


def stage_bits(bits: float, largest: int) -> tuple[int, ...]:
    """Bits of each stage: ``largest`` each, and one with what is left of the whole bits.

    >>> stage_bits(27.9, 8)
    (8, 8, 8, 3)
    """
    whole, rest = divmod(int(bits), largest)
    return (*[largest] * whole, rest) if rest else (largest,) * whole


def chosen_shape(faiss: Any, train: Matrix, bits: float, seed: int) -> tuple[int, int]:
    """(dims, bits per stage) with the least error on a quarter of the training rows."""
    order = np.random.default_rng(seed).permutation(len(train))[:_CHOICE_ROWS]
    inner, judged = np.split(order, [3 * len(order) // 4])
    width = train.shape[1]
    shapes = [
        (dims, stage)
        for dims, stage in product(sorted({min(dims, width) for dims in DIMS}), STAGE_BITS)
        if 2**stage * _ROWS_PER_CODE <= len(inner)
    ] or [(min(DIMS[0], width), 2)]

    def error(shape: tuple[int, int]) -> float:
        codec = fit_codec(faiss, train[inner], stage_bits(bits, shape[1]), shape[0])
        decoded = codec.decode(codec.encode(train[judged], beam=1))
        return float(squared_errors(train[judged], decoded).mean())

    return min(shapes, key=error)


def fit_codec(faiss: Any, train: Matrix, stages: tuple[int, ...], dims: int) -> JointCodec:
    """PCA to ``dims`` and a quantizer with a stage per entry of ``stages``."""
    mean = train.mean(axis=0)
    centred = train - mean
    covariance = centred.T.astype(np.float64) @ centred / len(train)
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :dims]
    axes = np.ascontiguousarray(axes, dtype=np.float32)
    vector = faiss.UInt64Vector()
    for bits in stages:
        vector.push_back(bits)
    quantizer = faiss.ResidualQuantizer(axes.shape[1], vector)
    quantizer.max_beam_size = 1
    quantizer.cp.min_points_per_centroid = 1  # it would warn on stderr
    quantizer.train(np.ascontiguousarray(centred @ axes))
    return JointCodec(mean, axes, quantizer, stages)


def unpacked(faiss: Any, codes: Any, stages: tuple[int, ...]) -> Any:
    """Packed codes to tokens, integers ``[B, stages]``."""
    return faiss.unpack_bitstrings(codes, list(stages)).astype(np.int64)
